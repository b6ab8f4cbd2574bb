//! What to do about something that does not work: how long to wait before the next try, and what is worth a line in the log.

use std::time::Duration;

/// `first`, doubled so often, but at most `longest`. Up to half of it is taken away by chance, so that those who failed together do
/// not come back together.
pub fn backoff(first: Duration, doublings: u32, longest: Duration) -> Duration {
    let full = first.saturating_mul(2_u32.saturating_pow(doublings)).min(longest);
    full.mul_f64(rand::random_range(0.5..=1.0))
}

/// Why something does not work, as last told: each reason is told once, not at each try.
#[derive(Debug, Default)]
pub struct Trouble(Option<String>);

impl Trouble {
    /// It has not worked yet, and nobody was told so: that it works will be news.
    pub fn not_begun() -> Self {
        Self(Some(String::new()))
    }

    /// It does not work for this reason; whether that is news.
    pub fn is_news(&mut self, why: &str) -> bool {
        let is_news = self.0.as_deref() != Some(why);
        if is_news {
            self.0 = Some(why.to_owned());
        }
        is_news
    }

    /// It works; whether that is news.
    pub fn is_over(&mut self) -> bool {
        self.0.take().is_some()
    }
}
