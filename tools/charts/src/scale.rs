//! Where values stand.

/// Maps a range of values to a range of places.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    least: f64,
    most: f64,
    begin: f64,
    end: f64,
    logarithmic: bool,
}

/// Of a linear scale there are no more ticks than this above zero.
const MOST_TICKS: u32 = 5;
/// Ranges of more decades than this have room for powers of ten alone.
const FEW_DECADES: f64 = 2.2;

impl Scale {
    /// From zero to `most`: twice the value, twice as far.
    pub const fn linear(most: f64, (begin, end): (f64, f64)) -> Self {
        Self {
            least: 0.0,
            most,
            begin,
            end,
            logarithmic: false,
        }
    }

    /// Between two values above zero: twice the value, always the same step.
    pub const fn logarithmic((least, most): (f64, f64), (begin, end): (f64, f64)) -> Self {
        Self {
            least,
            most,
            begin,
            end,
            logarithmic: true,
        }
    }

    /// Where a value stands. What is out of range stands at its edge.
    pub fn place(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value / self.least).ln() / (self.most / self.least).ln()
        } else {
            value / self.most
        };
        self.begin + share.clamp(0.0, 1.0) * (self.end - self.begin)
    }

    /// Round values to be written along it.
    pub fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            self.logarithmic_ticks()
        } else {
            self.linear_ticks()
        }
    }

    fn linear_ticks(&self) -> Vec<f64> {
        let least = self.most / f64::from(MOST_TICKS);
        let decade = 10_f64.powf(least.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * decade);
        // A scale that ends at zero has no step, and no tick but zero.
        let step = steps
            .into_iter()
            .find(|step| *step >= least && *step > 0.0)
            .unwrap_or(1.0);
        let ticks = (0..=MOST_TICKS).map(|n| f64::from(n) * step);
        ticks.filter(|tick| *tick <= self.most).collect()
    }

    fn logarithmic_ticks(&self) -> Vec<f64> {
        let few = (self.most / self.least).log10() < FEW_DECADES;
        let steps: &[f64] = if few { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let mut ticks = Vec::new();
        let mut decade = 10_f64.powf(self.least.log10().floor());
        while decade <= self.most {
            ticks.extend(steps.iter().map(|step| step * decade));
            decade *= 10.0;
        }
        ticks.retain(|tick| (self.least..=self.most).contains(tick));
        ticks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(scale: Scale, values: &[f64]) -> Vec<f64> {
        values.iter().map(|value| scale.place(*value).round()).collect()
    }

    #[test]
    fn a_linear_scale_begins_at_zero() {
        let scale = Scale::linear(200.0, (10.0, 110.0));
        assert_eq!(
            places(scale, &[0.0, 100.0, 200.0, 999.0]),
            [10.0, 60.0, 110.0, 110.0]
        );
    }

    #[test]
    fn equal_factors_are_equal_steps_upwards_too() {
        let scale = Scale::logarithmic((1.0, 10_000.0), (100.0, 0.0));
        assert_eq!(
            places(scale, &[1.0, 10.0, 1000.0, 0.001]),
            [100.0, 75.0, 25.0, 100.0]
        );
    }

    #[test]
    fn ticks_are_round_and_few() {
        let linear = |most| Scale::linear(most, (0.0, 1.0)).ticks();
        assert_eq!(linear(230.0), [0.0, 50.0, 100.0, 150.0, 200.0]);
        assert_eq!(linear(5.0), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(linear(1.5), [0.0, 0.5, 1.0, 1.5]);
        assert_eq!(linear(0.0), [0.0]);
        assert_eq!(
            Scale::logarithmic((1.0, 3000.0), (0.0, 1.0)).ticks(),
            [1.0, 10.0, 100.0, 1000.0]
        );
        assert_eq!(
            Scale::logarithmic((200.0, 4000.0), (0.0, 1.0)).ticks(),
            [200.0, 500.0, 1000.0, 2000.0]
        );
    }
}
