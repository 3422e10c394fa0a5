//! Images and documents that a request names by a web address, for providers that take nothing but
//! bytes: which they are, where the gateway may reach for them, what came, and how the request
//! says it. The reaching itself is IO and elsewhere.

mod address;
mod media;
mod places;

pub use address::{Reach, refused};
pub use media::{Fetched, read};
pub use places::{ITEMS_MAX, Place, filled, places};

use crate::translate::{Platform, ProviderDialect};

/// What a provider takes of a request that names things on the web.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taker {
    /// Claude at a cloud that does not fetch.
    Claude,
    /// Bedrock Converse.
    Converse,
}

impl Taker {
    /// `None`: the provider fetches by itself, or has no place for such things.
    pub fn of(dialect: ProviderDialect, platform: Platform) -> Option<Self> {
        match (dialect, platform) {
            (ProviderDialect::Converse, _) => Some(Self::Converse),
            (ProviderDialect::Messages, Platform::BedrockInvoke | Platform::Vertex) => {
                Some(Self::Claude)
            }
            _ => None,
        }
    }
}

/// What a thing is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// To be looked at.
    Image,
    /// To be read.
    Document,
}
