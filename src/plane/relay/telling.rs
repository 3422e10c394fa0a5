//! An answer in its provider's dialect, on its way into the client's.

use bytes::Bytes;
use meridian_core::meter::{Answer, Meter};
use meridian_core::relay::Line;
use meridian_core::translate::{self, Count, CountClient, Memo, Reply, Stream};

use crate::clock;
use crate::plane::admit::Admitted;
use crate::plane::outgoing::Telling;

/// The answer is not in the dialect that its provider speaks.
pub(super) struct Unreadable;

impl Telling {
    /// Whether bytes that are not read may pass.
    pub(super) fn passes(&self) -> bool {
        matches!(self, Self::AsIs | Self::Frames)
    }

    /// A whole body in the client's dialect, and what it is. `None`: it is already.
    pub(super) fn whole(
        &self,
        admitted: &Admitted,
        body: &[u8],
        meter: &mut Meter,
    ) -> Option<Result<(Bytes, Answer), Unreadable>> {
        match self {
            Self::AsIs | Self::Frames => None,
            Self::Counted {
                counter,
                provider,
                model,
            } => {
                let client = CountClient::of(admitted.arrival.endpoint)?;
                let tokens = counter.read(body).ok_or(Unreadable);
                Some(tokens.map(|tokens| {
                    let body = client.answer(Count {
                        tokens,
                        requested: &admitted.ask.requested_model,
                        used: model,
                        native: Some((provider, body)),
                    });
                    (Bytes::from(body), Answer::Good)
                }))
            }
            Self::Told { pair, memo, .. } => {
                if body.trim_ascii().is_empty() {
                    return Some(Ok((Bytes::new(), Answer::Empty)));
                }
                let told = translate::response(*pair, body, reply(admitted, memo));
                Some(told.map_err(|_| Unreadable).map(|told| {
                    let failed = told.facts.error.is_some();
                    meter.adopt(&told.facts, told.usage);
                    let read = if failed { Answer::Error } else { Answer::Good };
                    (Bytes::from(told.body), read)
                }))
            }
        }
    }

    /// Several answers with embeddings as one in the client's dialect. `None`: they cannot be read,
    /// or nothing tells them.
    pub(crate) fn joined(
        &self,
        admitted: &Admitted,
        bodies: &[Vec<u8>],
        meter: &mut Meter,
    ) -> Option<Bytes> {
        let Self::Told { pair, memo, .. } = self else {
            return None;
        };
        let bodies: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
        let told = translate::joined(*pair, &bodies, &reply(admitted, memo)).ok()?;
        meter.adopt(&told.facts, told.usage);
        Some(Bytes::from(told.body))
    }

    /// The relay that takes a stream of this kind. `None`: the dialect has no streams.
    pub(super) fn stream(&self, admitted: &Admitted, relay: Line) -> Option<Line> {
        match self {
            Self::AsIs | Self::Counted { .. } => Some(relay),
            Self::Frames => Some(relay.in_frames()),
            Self::Told { pair, memo, frames } => {
                let relay = relay.told(Stream::new(*pair, reply(admitted, memo))?);
                Some(if *frames { relay.in_frames() } else { relay })
            }
        }
    }
}

fn reply(admitted: &Admitted, memo: &Memo) -> Reply {
    Reply {
        model: admitted.ask.requested_model.clone(),
        seed: u128::from_le_bytes(clock::random_bytes()),
        created_s: u64::try_from(admitted.arrival.wall.0 / 1_000).unwrap_or_default(),
        request_id: admitted.arrival.call_id.to_string(),
        memo: memo.clone(),
    }
}
