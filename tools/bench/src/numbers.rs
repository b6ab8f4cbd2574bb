//! Numbers as people read them.

use super::statistics::number;

/// Bytes in MiB.
pub fn mebibytes(bytes: u64) -> f64 {
    number(bytes) / 1024.0 / 1024.0
}

/// Three significant digits, or whole numbers with their thousands apart.
pub fn rounded(value: f64) -> String {
    match value.abs() {
        size if size >= 999.5 => thousands(value),
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.9995 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let (sign, digits) = digits
        .strip_prefix('-')
        .map_or(("", digits.as_str()), |digits| ("-", digits));
    let mut grouped = String::from(sign);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_to_what_can_be_read() {
        assert_eq!(rounded(0.123_45), "0.123");
        assert_eq!(rounded(0.9996), "1.00");
        assert_eq!(rounded(3.456), "3.46");
        assert_eq!(rounded(45.67), "45.7");
        assert_eq!(rounded(456.7), "457");
        assert_eq!(rounded(1234.5), "1,234");
        assert_eq!(rounded(-1_234_567.0), "-1,234,567");
        assert_eq!(rounded(100_000.0), "100,000");
    }
}
