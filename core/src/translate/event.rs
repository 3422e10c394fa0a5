//! An answer in no dialect: what a provider's reader tells and a client's writer takes, for whole
//! bodies and streams alike.

use crate::translate::prompt::Proof;
use crate::translate::text::Text;
use crate::usage::Usage;
use crate::wire::json::Value;
use crate::wire::upstream_error::Complaint;

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model was done.
    Stop,
    /// A stop sequence came.
    StopSequence,
    /// The output bound was reached.
    Length,
    /// The context window is full.
    Context,
    /// The caller shall run tools.
    Tools,
    /// A safety system stepped in, or the model refused.
    Filter,
    /// Anthropic's `pause_turn`: the caller may send the answer back to go on.
    Pause,
}

/// A piece of an answer. Pieces of one block come one after the other, except those of tool
/// calls, which some providers interleave.
#[derive(Clone, Debug)]
pub enum Piece<'e> {
    /// The answer begins. Comes first, and once; a reader tells what it knows.
    Start {
        /// The provider's id.
        id: Option<Text<'e>>,
        /// The provider's name of the model.
        model: Option<Text<'e>>,
    },
    /// Text.
    Text(Text<'e>),
    /// The model's refusal, as text.
    Refusal(Text<'e>),
    /// Thoughts that are shown.
    Thinking(Text<'e>),
    /// What lets the provider accept the running block of thoughts back; ends that block.
    Proof(Proof<'e>),
    /// The running block of text or thoughts ends.
    BlockEnd,
    /// A tool is called.
    CallStart {
        /// Number of the call in this answer, from zero.
        call: u32,
        /// The provider's id; empty when it has none.
        id: Text<'e>,
        /// The tool, as the provider calls it.
        name: Text<'e>,
        /// What Gemini wants back with it.
        signature: Option<Text<'e>>,
    },
    /// A piece of the JSON of a call's arguments, or of a custom tool's text.
    CallArguments {
        /// Number of the call.
        call: u32,
        /// The piece.
        json: Text<'e>,
    },
    /// A call is whole; one without any argument piece has none: `{}`.
    CallEnd {
        /// Number of the call.
        call: u32,
    },
    /// A citation in Anthropic's form, of the running text.
    Citation(Value<'e>),
    /// An annotation in OpenAI's form, of the running text.
    Annotation(Value<'e>),
    /// Log probabilities in the form of chat's `logprobs.content`: a list.
    Logprobs(Value<'e>),
    /// A block that only Anthropic's dialect knows (server tools and their results), whole.
    Block(Value<'e>),
    /// An image that the model made.
    Image {
        /// `image/png`.
        media: Text<'e>,
        /// Base64.
        data: Text<'e>,
    },
    /// Consumption so far; the last one counts.
    Usage(&'e Usage),
    /// The tier that the provider says it used, in its words.
    Tier(Text<'e>),
    /// OpenAI's `system_fingerprint`.
    Fingerprint(Text<'e>),
    /// Generation ended. Usage may still follow.
    Finish {
        /// Why.
        reason: Finish,
        /// The provider's own word for it.
        native: Text<'e>,
        /// The stop sequence that came.
        sequence: Option<Text<'e>>,
        /// Anthropic's `stop_details`, as JSON.
        details: Option<Value<'e>>,
    },
    /// The dialect's own end: nothing follows.
    End,
    /// The provider reported an error.
    Error(&'e Complaint),
}

/// Takes the pieces of an answer in. `choice` is its number where several were asked for; only
/// chat tells them apart.
pub trait Sink {
    /// One piece.
    fn take(&mut self, choice: u32, piece: Piece<'_>);
}
