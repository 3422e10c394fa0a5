//! Deliberately broken variants, one for each promise at least: a checker that does not bite them
//! checks nothing. Broken is what surrounds the state machine, never the product's code.

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A request that finds no rights runs anyway (checker 1).
    SpendsWithoutRights,
    /// Transfers travel as differences instead of totals (checker 2).
    SendsDifferences,
    /// Batches are stored again after an answer that was lost (checker 3).
    StoresBatchesAgain,
    /// Rows leave before they are on disk (checker 4).
    ShowsBeforeSync,
    /// Every node that asks gets the region's claim (checker 5).
    ClaimsTwice,
    /// One region is enough to fence another one of three (checker 6).
    FencesAlone,
    /// Whoever wants a ceiling has it, and nobody has noted it (checker 6).
    WitnessesItself,
    /// No region asks another one (checker 7).
    AsksNoRegion,
    /// Nodes do not hear of revocations (checker 9).
    DeafToRevocations,
    /// Periods by the raw clock, however wrong it is (checker 10).
    TrustsAnyClock,
    /// Nothing is sent twice and no digest is exchanged (checker 11).
    NeverRepeats,
}

impl Mutant {
    pub(crate) const ALL: [(Self, u8); 11] = [
        (Self::SpendsWithoutRights, 1),
        (Self::SendsDifferences, 2),
        (Self::StoresBatchesAgain, 3),
        (Self::ShowsBeforeSync, 4),
        (Self::ClaimsTwice, 5),
        (Self::FencesAlone, 6),
        (Self::WitnessesItself, 6),
        (Self::AsksNoRegion, 7),
        (Self::DeafToRevocations, 9),
        (Self::TrustsAnyClock, 10),
        (Self::NeverRepeats, 11),
    ];
}
