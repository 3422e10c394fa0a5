//! How long scenarios last, and that they do not run at the same time.

use std::time::Duration;

use meridian_testkit::regions::{Plan, Regions};
use tokio::sync::{Mutex, MutexGuard};

/// Path of the gateway.
const BINARY: &str = env!("CARGO_BIN_EXE_meridian");

/// Six gateways, three Postgres and three Redis are enough for one machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Whether everything runs in full length.
pub(crate) fn is_long() -> bool {
    std::env::var_os("MERIDIAN_REGIONS").is_some_and(|value| value == "long")
}

/// The short value for `make test`, the other one in full length.
pub(crate) fn either<T>(short: T, long: T) -> T {
    match is_long() {
        true => long,
        false => short,
    }
}

/// What [`Regions::settled`] and the like may take at most on a busy machine.
pub(crate) const SETTLED_WITHIN: Duration = Duration::from_secs(90);

/// A plan, changed as wanted, and the regions that it makes.
pub(crate) struct World {
    pub(crate) regions: Regions,
    _alone: MutexGuard<'static, ()>,
}

impl World {
    pub(crate) async fn start(change: impl FnOnce(&mut Plan)) -> Self {
        let alone = ONE_AT_A_TIME.lock().await;
        let mut plan = Plan::three(BINARY);
        change(&mut plan);
        Self {
            regions: Regions::start(plan).await,
            _alone: alone,
        }
    }
}
