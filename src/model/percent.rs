//! Shares in whole hundredths of a percent, so that rounding never decides which request is moved.

use std::fmt;

/// A share from 0 to 100 % in steps of 0.01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Percent(u16);

/// Reason why a number is not a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PercentError {
    /// NaN.
    #[error("is not a number")]
    NotANumber,
    /// Below 0.
    #[error("is below 0")]
    Negative,
    /// Above 100.
    #[error("is above 100")]
    Above100,
    /// Finer than 0.01.
    #[error("has more than two decimals")]
    TooFine,
}

impl Percent {
    /// 0 %.
    pub const ZERO: Self = Self(0);
    /// 100 %.
    pub const FULL: Self = Self(10_000);

    /// From hundredths of a percent; `None` above 10,000.
    pub const fn from_hundredths(hundredths: u16) -> Option<Self> {
        if hundredths <= 10_000 { Some(Self(hundredths)) } else { None }
    }

    /// The share in hundredths of a percent, 0 to 10,000.
    pub const fn hundredths(self) -> u16 {
        self.0
    }

    /// The share in percent, 0 to 100.
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

impl TryFrom<f64> for Percent {
    type Error = PercentError;

    fn try_from(value: f64) -> Result<Self, PercentError> {
        if value.is_nan() {
            return Err(PercentError::NotANumber);
        }
        if value < 0.0 {
            return Err(PercentError::Negative);
        }
        if value > 100.0 {
            return Err(PercentError::Above100);
        }
        let scaled = value * 100.0;
        let rounded = scaled.round();
        // 0.07 * 100.0 is 7.000000000000001, so the nearest hundredth counts; a larger difference is a third decimal.
        if (scaled - rounded).abs() > 1e-6 {
            return Err(PercentError::TooFine);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in 0..=10_000")]
        let hundredths = rounded as u16;
        Ok(Self(hundredths))
    }
}

/// Prints `5.00`.
impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hundredth_survives() {
        for hundredths in 0..=10_000_u16 {
            let value = f64::from(hundredths) / 100.0;
            assert_eq!(Percent::try_from(value), Ok(Percent(hundredths)));
            let written: f64 = Percent(hundredths).to_string().parse().unwrap();
            assert_eq!(Percent::try_from(written), Ok(Percent(hundredths)));
        }
    }

    #[test]
    fn what_is_no_percent_is_refused() {
        assert_eq!(Percent::try_from(f64::NAN), Err(PercentError::NotANumber));
        assert_eq!(Percent::try_from(-0.01), Err(PercentError::Negative));
        assert_eq!(Percent::try_from(100.01), Err(PercentError::Above100));
        assert_eq!(Percent::try_from(f64::INFINITY), Err(PercentError::Above100));
        assert_eq!(Percent::try_from(1.005), Err(PercentError::TooFine));
    }
}
