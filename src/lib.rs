//! Meridian: the deeds (IO) around the rules in `meridian-core`.

/// The allocator: less CPU per request than the system's (docs/PERFORMANCE.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
