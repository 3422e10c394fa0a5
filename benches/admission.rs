//! Cost of admitting and settling one request over its scopes. `cargo bench --bench admission`.

use std::io::Write;
use std::sync::Arc;

use jiff::tz::TimeZone;
use meridian::clock;
use meridian::registry::{Applied, Registry};
use meridian_core::auth::KeyView;
use meridian_core::escrow::{Actor, Escrow, Event, Grant, Pid, Settings};
use meridian_core::ids::KeyHash;
use meridian_core::key::KeyRecord;
use meridian_core::meters::{Decides, Need, Window};
use meridian_core::money::NanoUsd;
use meridian_core::record::{Body, Bounds, Organization, Record, Team, User};
use meridian_core::time::{MonoUs, WallMs};
use serde_json::json;

/// Requests per measurement.
const REQUESTS: u32 = 1_000_000;

#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

fn main() -> Result<(), BenchError> {
    let now = clock::now();
    let registry = Registry::new(TimeZone::UTC);
    let key = |clear: &str, fields: serde_json::Value| -> Result<(), BenchError> {
        let mut all = json!({
            "token": KeyHash::of_secret(clear), "key_name": "k", "version": 1,
            "max_budget": i64::MAX / 16, "rpm_limit": 4_000_000_000u64,
        });
        if let (Some(all), Some(more)) = (all.as_object_mut(), fields.as_object()) {
            all.extend(more.clone());
        }
        let key: KeyRecord = serde_json::from_value(all)?;
        apply(&registry, key.to_record(), now)
    };
    key("sk-1", json!({}))?;
    key(
        "sk-unknown",
        json!({"team_id": "x", "user_id": "x", "organization_id": "x"}),
    )?;
    key(
        "sk-4",
        json!({"team_id": "t", "user_id": "u", "organization_id": "o"}),
    )?;
    let bounds = || Bounds {
        max_budget: Some(NanoUsd(i64::MAX / 16)),
        rpm_limit: Some(4_000_000_000),
        ..Bounds::default()
    };
    let team = Team {
        bounds: bounds(),
        ..Team::default()
    };
    let user = User {
        bounds: bounds(),
        ..User::default()
    };
    apply(&registry, versioned("t", &team, now), now)?;
    apply(&registry, versioned("u", &user, now), now)?;
    apply(
        &registry,
        versioned("o", &Organization::default(), now),
        now,
    )?;
    for (name, clear) in [
        ("the key alone", "sk-1"),
        ("the key, scopes without records", "sk-unknown"),
        ("key, team, user, organization", "sk-4"),
    ] {
        let view = registry.get(&KeyHash::of_secret(clear), now);
        let view = view.ok_or_else(|| BenchError::Refused(clear.to_owned()))?;
        measure(name, &view, Decides::Count, now)?;
    }
    let view = registry.get(&KeyHash::of_secret("sk-4"), now);
    let view = view.ok_or_else(|| BenchError::Refused("sk-4".to_owned()))?;
    give_rights(&view, now);
    measure("the same, by rights", &view, Decides::Rights, now)
}

/// Rights for every budget of a key and its scopes, as if this node had made all of them.
fn give_rights(view: &KeyView, now: WallMs) {
    let me = Actor {
        region: 0,
        node: 1,
        incarnation: 0,
    };
    let mut escrow = Escrow::new(me, Settings::default());
    let mut effects = Vec::new();
    let mut dues = Vec::new();
    view.add_dues(&mut dues);
    let scopes = dues.iter().map(|due| &due.meters).chain([view.meters()]);
    for window in scopes.map(Window::whole) {
        if window.limit(now).is_none() {
            continue;
        }
        let pid = Pid {
            scope: window.scope_id(),
            index: i64::MAX,
            generation: 0,
        };
        let claimed = Event::Claimed {
            pid,
            claim: 0,
            amount: 1_000_000_000_000_000,
            by: me,
        };
        escrow.step(MonoUs(0), claimed, &mut effects);
        let slot = escrow.slot(pid);
        let grant = slot.map(|slot| Arc::new(Grant::new(pid, slot, None)));
        window.gate().set(grant);
    }
}

fn versioned<B: Body>(id: &str, body: &B, now: WallMs) -> Record {
    let mut record = Record::new(id.to_owned(), body, now);
    record.version = 1;
    record
}

fn apply(registry: &Registry, record: Record, now: WallMs) -> Result<(), BenchError> {
    match registry.apply(&record, None, now) {
        Applied::Taken => Ok(()),
        other => Err(BenchError::Refused(format!("{other:?}"))),
    }
}

fn measure(
    name: &str,
    view: &Arc<KeyView>,
    decides: Decides,
    now: WallMs,
) -> Result<(), BenchError> {
    let need = Need {
        cost: NanoUsd(1_000),
        tokens: 10,
        model: "m",
        free: false,
        key_alias: None,
        decides,
        excess: NanoUsd::ZERO,
    };
    let started = tokio::time::Instant::now();
    for _ in 0..REQUESTS {
        view.check_parties()
            .map_err(|error| BenchError::Refused(error.to_string()))?;
        let mut dues = Vec::new();
        view.add_dues(&mut dues);
        let admitted = view.meters().admit(need, dues, now);
        let mut admission =
            admitted.map_err(|denied| BenchError::Refused(denied.error.to_string()))?;
        admission.mark_sent();
        admission.settle(NanoUsd(900), 9);
    }
    let nanos = started.elapsed().as_nanos() / u128::from(REQUESTS);
    writeln!(std::io::stdout(), "{nanos:>6} ns  {name}")?;
    Ok(())
}
