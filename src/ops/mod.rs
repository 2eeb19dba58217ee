//! Running the gateway: the ops listener (health, readiness, metrics, keys), signals, drain, reload.
//!
//! Public face: [`serve`] answers on the ops listener; [`Signals`] says what the operator wants; [`drain`] ends well;
//! [`Reloader`] takes over a changed configuration, or refuses it; [`check`] tries what the settings name.

mod check;
mod drain;
mod listener;
mod reload;
mod signals;

pub use self::check::{Findings, NOBODY_CAN_SIGN_IN, Trial, check};
pub use self::drain::drain;
pub use self::listener::{Vitals, serve};
pub use self::reload::Reloader;
pub use self::signals::{Signals, Told};
