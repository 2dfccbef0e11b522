//! A monotonic clock that runs at its own speed, and goes on while its process stands still.

use types::Time;

/// What a process reads as time since it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clock {
    /// At this moment of the world
    since: Time,
    /// it showed this,
    shown: Time,
    /// and since then it has gained this many parts per million.
    drift_ppm: i64,
}

const MILLION: u128 = 1_000_000;

impl Clock {
    /// Starts at 0.
    pub(crate) fn start(now: Time, drift_ppm: i64) -> Clock {
        Clock { since: now, shown: Time(0), drift_ppm }
    }

    /// What it shows.
    pub(crate) fn mono(&self, now: Time) -> Time {
        let passed = u128::from(now.0.saturating_sub(self.since.0));
        Time(self.shown.0.saturating_add((passed * self.rate() / MILLION) as u64))
    }

    /// When it will show `mono`; not before `since`.
    pub(crate) fn when(&self, mono: Time) -> Time {
        let ahead = u128::from(mono.0.saturating_sub(self.shown.0));
        let passed = u64::try_from((ahead * MILLION).div_ceil(self.rate())).unwrap_or(u64::MAX);
        Time(self.since.0.saturating_add(passed))
    }

    /// From now on it runs at another speed.
    pub(crate) fn set_drift(&mut self, now: Time, drift_ppm: i64) {
        *self = Clock { since: now, shown: self.mono(now), drift_ppm };
    }

    /// What it gains in a million; at least 1, so that it never stands still.
    fn rate(&self) -> u128 {
        u128::try_from(1_000_000_i64.saturating_add(self.drift_ppm)).unwrap_or(0).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_runs_at_its_speed_and_never_jumps() {
        let mut clock = Clock::start(Time(1_000), 100_000);
        assert_eq!((clock.mono(Time(1_000)), clock.mono(Time(2_000))), (Time(0), Time(1_100)));
        clock.set_drift(Time(2_000), -500_000);
        assert_eq!((clock.mono(Time(2_000)), clock.mono(Time(4_000))), (Time(1_100), Time(2_100)));
    }

    #[test]
    fn a_deadline_is_met_when_the_clock_shows_it_and_no_sooner() {
        for drift_ppm in [-900_000, -7, 0, 3, 999_999] {
            let clock = Clock::start(Time(77), drift_ppm);
            for mono in [1, 10, 12_345, 1_000_000_007] {
                let at = clock.when(Time(mono));
                assert!(
                    clock.mono(at) >= Time(mono) && clock.mono(Time(at.0 - 1)) < Time(mono),
                    "{drift_ppm}"
                );
            }
        }
    }
}
