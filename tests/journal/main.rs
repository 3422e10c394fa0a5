//! The journal on real files: rotation, damage, limits, locks, drains and `kill -9`.

#[cfg(test)]
mod append;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod support;
