//! The free probe: the list of models, with the deployment's credentials.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use meridian_core::error::GatewayError;
use meridian_core::routing::failure::{Silence, Verdict, of_answer};
use meridian_core::routing::health::Failed;
use meridian_core::routing::probe::{Last, Listing, judge_list};

use super::{Ended, Probe};
use crate::clock;
use crate::server::call::{Answer, NoAnswer, call, can_prove, headers};
use crate::upstream::RequestHead;

/// Asks for the list and takes in what that shows.
pub(super) async fn run(probe: Probe) -> Ended {
    let last = match ask(&probe).await {
        None => Last::Answered,
        Some(Ok(answer)) => answered(&probe, &answer),
        Some(Err(silence)) => {
            let status = if silence == Silence::Deadline {
                408
            } else {
                500
            };
            failed(&probe, silence.verdict(), None, status)
        }
    };
    Ended {
        last,
        own_heard_at: None,
    }
}

/// Asks for the list and takes nothing in: `Err` is what went wrong.
pub(super) async fn try_out(probe: &Probe) -> Result<(), String> {
    match ask(probe).await {
        None => Err("it has neither a price nor a list of models to be tested with".to_owned()),
        Some(Ok(answer)) if answer.head.status.is_success() => Ok(()),
        Some(Ok(answer)) => {
            let exception = probe.target.deployment.provider.exception();
            let error = answer.as_error(&exception);
            let judged = of_answer(probe.target.origin(), &error, None, clock::now());
            Err(GatewayError::Upstream(Box::new(judged.fault.error)).to_string())
        }
        Some(Err(Silence::Deadline)) => Err("no answer in time".to_owned()),
        Some(Err(_)) => Err("the provider cannot be reached or broke off".to_owned()),
    }
}

/// `None`: there is nothing to ask.
async fn ask(probe: &Probe) -> Option<Result<Answer, Silence>> {
    let door = probe.target.door.as_ref()?;
    if !can_prove(door) {
        return None;
    }
    let head = RequestHead {
        method: Method::GET,
        path: door.paths.models_path()?,
        authority: door.authority.clone(),
        headers: headers(&probe.target, door),
    };
    let once = || {
        call(
            &probe.state,
            door,
            (&head, Bytes::new()),
            probe.policy.timeout,
        )
    };
    Some(match once().await {
        // A pooled connection may have been closed at that moment: reading does no harm twice.
        Err(NoAnswer {
            silence: Silence::Lost,
            ..
        }) => once().await.map_err(|none| none.silence),
        answered => answered.map_err(|none| none.silence),
    })
}

fn answered(probe: &Probe, answer: &Answer) -> Last {
    let status = answer.head.status.as_u16();
    if status >= 400 {
        let provider = probe.target.deployment.provider;
        let exception = provider.exception();
        let judged = judge_list(provider, &answer.as_error(&exception), clock::now());
        if let Listing::Failed { verdict, wait_s } = judged {
            return failed(probe, verdict, wait_s, status);
        }
    }
    if probe.target.health.answered(probe.state.routing.now()) {
        let id = &probe.target.deployment.id;
        tracing::info!(deployment = id, "answers again: back in use");
    }
    Last::Answered
}

fn failed(probe: &Probe, verdict: Verdict, wait_s: Option<u64>, status: u16) -> Last {
    let wait = wait_s.map(Duration::from_secs);
    probe.failed(Failed { verdict, wait }, status);
    Last::Failed
}
