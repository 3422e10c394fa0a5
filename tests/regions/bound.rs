//! What the gateways themselves say that a budget may be over.

use meridian_testkit::gateway::Gateway;
use meridian_testkit::regions::Regions;
use serde_json::Value;

/// The bound for a key in nano-dollars: the sum of what each gateway answers for itself. None where
/// a gateway does not answer, or knows no bound.
pub(crate) async fn bound(regions: &Regions, key: &str) -> Option<u64> {
    let mut sum = 0;
    for gateway in regions.gateways() {
        sum += of(gateway, key).await?;
    }
    Some(sum)
}

async fn of(gateway: &Gateway, key: &str) -> Option<u64> {
    let target = format!("/budget/state/{key}");
    let answer = gateway.admin("GET", &target, &Value::Null).await;
    if answer.status() != 200 {
        return None;
    }
    answer.json()["bound"]["total_nano_usd"].as_u64()
}
