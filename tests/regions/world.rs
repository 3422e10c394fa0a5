//! The world of a test, one at a time.

use std::time::Duration;

use meridian_testkit::regions::{Plan, Regions};
use tokio::sync::{Mutex, MutexGuard};

/// Path of the gateway.
const BINARY: &str = env!("CARGO_BIN_EXE_meridian");

/// Six gateways, three Postgres and three Redis are enough for one machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

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
