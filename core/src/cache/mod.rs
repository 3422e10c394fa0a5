//! The response cache: which requests have the same answer, what each may ask of the cache, and
//! how an answer is kept. `docs/CACHE.md` has the rules in prose.

mod controls;
mod entry;
mod key;
mod of_key;
mod policy;
#[cfg(test)]
mod tests;

pub use controls::{CONTROLS, CacheControls};
pub use entry::{Answer, Entry, EntryError, Shape};
pub use key::{CacheKey, KeyMaker, Tenant, is_part_of_answer};
pub use of_key::KeyCache;
pub use policy::{CACHEABLE, CacheMode, CachePolicy, CacheScope, Plan, call_type};
