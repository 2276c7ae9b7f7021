//! Units that every figure of the product is counted in. A number without a unit is not a measurement.

use serde::{Deserialize, Serialize};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0 + other.0)
            }
        }
        impl Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self(self.0 - other.0)
            }
        }
        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                self.0 += other.0;
            }
        }
        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(values: I) -> Self {
                values.fold(Self::default(), Add::add)
            }
        }
    };
}

quantity!(
    /// Wall-clock seconds.
    Seconds(f64)
);
quantity!(
    /// United States dollars.
    Usd(f64)
);
quantity!(
    /// Model tokens, counted with the model's own tokenizer.
    Tokens(u64)
);
quantity!(
    /// Joules of energy.
    Joules(f64)
);
quantity!(
    /// Bytes.
    Bytes(u64)
);

impl Seconds {
    /// No time at all.
    pub const ZERO: Self = Self(0.0);
}

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            s if s >= 100.0 => write!(f, "{s:.0} s"),
            s if s >= 1.0 => write!(f, "{s:.2} s"),
            s if s >= 1e-3 => write!(f, "{:.1} ms", s * 1e3),
            s => write!(f, "{:.1} µs", s * 1e6),
        }
    }
}

impl std::fmt::Display for Joules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            j if j >= 1e3 => write!(f, "{:.2} kJ", j / 1e3),
            j if j >= 1.0 => write!(f, "{j:.2} J"),
            j => write!(f, "{:.1} mJ", j * 1e3),
        }
    }
}

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let b = self.0 as f64;
        match b {
            b if b >= 1e9 => write!(f, "{:.2} GB", b / 1e9),
            b if b >= 1e6 => write!(f, "{:.1} MB", b / 1e6),
            b if b >= 1e3 => write!(f, "{:.1} kB", b / 1e3),
            b => write!(f, "{b:.0} B"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_add_and_print_with_their_unit() {
        let total: Seconds = [Seconds(0.25), Seconds(0.5)].into_iter().sum();
        assert_eq!(total, Seconds(0.75));
        assert_eq!(total.to_string(), "750.0 ms");
        assert_eq!(Seconds(12.345).to_string(), "12.35 s");
        assert_eq!(Bytes(491_400_064).to_string(), "491.4 MB");
    }
}
