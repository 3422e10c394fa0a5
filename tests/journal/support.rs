//! Records and small tasks that the journal's tests share.

use std::path::Path;
use std::time::Duration;

use meridian::journal::{Fsync, Journal, JournalOptions, Recovery};
use meridian_core::endpoint::Endpoint;
use meridian_core::ids::{CallId, KeyHash};
use meridian_core::journal::{Bound, Open, Rates};
use meridian_core::money::NanoUsd;
use meridian_core::spend::{EndReason, Payer, RequestContext, SpendRecord};
use meridian_core::time::WallMs;
use meridian_core::usage::Usage;

/// Cost of a request that ended well.
pub(crate) const COST: i64 = 1_000;
/// Cost of the reservation of a request that did not.
pub(crate) const RESERVED: i64 = 7_000_000;

/// A request's identity out of a number.
pub(crate) fn call(number: u64) -> CallId {
    CallId::from_bytes(
        [number.to_be_bytes(), number.to_be_bytes()].concat()[..]
            .try_into()
            .unwrap(),
    )
}

/// The key that pays for everything here.
pub(crate) fn payer_key() -> KeyHash {
    KeyHash::of_secret("sk-payer")
}

/// A request that ended well.
pub(crate) fn record(call_id: CallId) -> SpendRecord {
    SpendRecord {
        call_id,
        response_id: Some(format!("chatcmpl-{call_id}")),
        endpoint: Endpoint::ChatCompletions,
        stream: false,
        payer: Payer {
            key: Some(payer_key()),
            key_alias: Some("alias-of-the-key".into()),
            user_id: Some("user-1".into()),
            team_id: Some("team-1".into()),
            organization_id: None,
            end_user: None,
        },
        model_group: "gpt-4o".into(),
        deployment_id: "0b1f6a4e-openai-gpt-4o".into(),
        model: "gpt-4o-2024-11-20".into(),
        provider: "openai".into(),
        api_base: "https://api.openai.com/v1".into(),
        region: None,
        started: WallMs(1_795_000_000_000),
        ended: WallMs(1_795_000_001_500),
        first_byte: Some(WallMs(1_795_000_000_400)),
        usage: Usage {
            prompt: 120,
            completion: 40,
            ..Usage::default()
        },
        cost: NanoUsd(COST),
        price_unknown: false,
        estimated: false,
        end_reason: EndReason::Complete,
        status: 200,
        attempts: 1,
        context: RequestContext::default(),
        error: None,
        texts: None,
    }
}

/// The OPEN of a request.
pub(crate) fn open(call_id: CallId) -> Open {
    let bound = Bound {
        prompt_tokens: 120,
        completion_tokens_max: 500,
        reserved: NanoUsd(RESERVED),
        rates: Rates {
            prompt_nano_per_mtok: 2_500_000_000,
            completion_nano_per_mtok: 10_000_000_000,
        },
    };
    Open {
        record: record(call_id),
        bound,
    }
}

/// Small segments, so that rotation happens all the time.
pub(crate) fn small() -> JournalOptions {
    JournalOptions {
        segment_bytes: 32 * 1024,
        bytes_max: 1024 * 1024 * 1024,
        fsync: Fsync::Interval(Duration::from_millis(10)),
    }
}

/// Opens a journal that must open.
pub(crate) fn journal(dir: &Path, options: JournalOptions) -> (Journal, Recovery) {
    Journal::open(dir, options).unwrap()
}

/// One whole request.
pub(crate) fn request(journal: &Journal, call_id: CallId) {
    let ticket = journal.append_open(&open(call_id)).unwrap();
    journal
        .append_close(Some(ticket), &record(call_id))
        .unwrap();
}
