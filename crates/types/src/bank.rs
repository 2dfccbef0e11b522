//! The form of a list of historical bugs that a test can plant.

/// Makes an enumeration `Planted` of bugs, each with what it does, and who suffered from it, as its documentation, its row
/// of the bank in `docs/simulation.md`, and its name: `bank! { /// … "R1" CommitsOldTerms, }`.
#[macro_export]
macro_rules! bank {
    ($($(#[doc = $source:literal])+ $row:literal $bug:ident,)*) => {
        /// A bug of the bank in `docs/simulation.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Planted {
            $($(#[doc = $source])+ $bug,)*
        }

        impl Planted {
            /// All of them.
            pub const ALL: &[Planted] = &[$(Planted::$bug,)*];

            /// The row of the bank that it belongs to.
            pub fn row(self) -> &'static str {
                match self {
                    $(Planted::$bug => $row,)*
                }
            }

            /// What it does, and who suffered from it.
            pub fn source(self) -> &'static str {
                match self {
                    $(Planted::$bug => concat!($($source),+).trim_ascii(),)*
                }
            }
        }
    };
}
