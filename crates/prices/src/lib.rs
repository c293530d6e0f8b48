//! Models as data: prices, limits and capabilities, the cost of a usage, and token counts.
//!
//! [`Catalog`] finds an [`Entry`] by provider and model name; its [`PriceSheet`] and a call's usage give a
//! [`Breakdown`] through [`cost`], the only function that turns usage into money. [`Overrides`] lay a deployment's
//! own prices over a sheet. [`import`] reads the price file LiteLLM publishes, and [`Diff`] says what a refresh
//! changes. [`tokens`] counts tokens without asking anyone.
//!
//! Everything is a pure function of bytes and strings: no file, clock or network is touched here.

mod catalog;
mod cost;
mod diff;
mod entry;
mod error;
mod facts;
mod family;
mod find;
pub mod import;
mod keys;
mod layers;
mod overrides;
mod row;
mod sheet;
pub mod tokens;

pub use catalog::Catalog;
pub use cost::{Breakdown, Line, cost};
pub use diff::{Change, Diff};
pub use entry::{Derived, Entry, Limits, provider_of};
pub use error::{Error, Result};
pub use facts::{Bucket, Facts};
pub use overrides::Overrides;
pub use sheet::{
    Above, Measure, OffPeak, PriceSheet, Range, Rate, Rates, Ratio, Service, Tier, Window, Zone,
};
