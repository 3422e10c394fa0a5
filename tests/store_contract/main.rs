//! What every store must do; a new variant of `Store` is added in `support.rs`.

#[cfg(test)]
mod batches;
#[cfg(test)]
mod cells;
#[cfg(test)]
mod home;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod paces;
#[cfg(test)]
mod records;
#[cfg(test)]
mod scopes;
#[cfg(test)]
mod support;
#[cfg(test)]
mod texts;
