//! The time left, estimated from the speed so far.

use std::time::{Duration, Instant};

/// The speed of this process, in steps.
pub(super) struct Pace {
    began: Instant,
    /// Steps that an earlier process did.
    before: u64,
    all: u64,
}

impl Pace {
    /// A run of `all` steps, `before` of which are done.
    pub fn new(before: u64, all: u64) -> Self {
        Pace { began: Instant::now(), before, all }
    }

    /// `  about 4 min left`; empty in the first second and at the end.
    pub fn text(&self, done: u64) -> String {
        let (own, rest) = (done.saturating_sub(self.before), self.all.saturating_sub(done));
        let elapsed = self.began.elapsed();
        let is_known = own > 0 && elapsed > Duration::from_secs(1);
        let time =
            if is_known { elapsed.mul_f64(rest as f64 / own as f64) } else { Duration::ZERO };
        if time.as_secs() > 0 { format!("  {}", left(time)) } else { String::new() }
    }
}

/// `about 4 min left`.
pub(super) fn left(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let text = match seconds {
        0..60 => format!("{seconds} s"),
        60..5400 => format!("{} min", (seconds + 30) / 60),
        5400..172_800 => format!("{:.1} h", seconds as f64 / 3600.0),
        _ => format!("{:.1} days", seconds as f64 / 86_400.0),
    };
    format!("about {text} left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_rounded() {
        let text = |seconds: u64| left(Duration::from_secs(seconds));
        assert_eq!(text(42), "about 42 s left");
        assert_eq!(text(250), "about 4 min left");
        assert_eq!(text(3 * 3600), "about 3.0 h left");
        assert_eq!(text(300_000), "about 3.5 days left");
    }

    #[test]
    fn only_steps_of_this_process_tell_its_speed() {
        let began = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        let pace = Pace { began, before: 900, all: 1000 };
        assert_eq!(pace.text(950), "  about 10 s left");
        assert_eq!([900, 1000].map(|done| pace.text(done)), ["", ""]);
        assert_eq!(Pace::new(0, 10).text(5), "");
    }
}
