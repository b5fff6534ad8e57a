//! What a run knows of the events that are due.

/// Whether another claim would find events.
#[derive(Debug, Default)]
pub(super) struct Supply {
    /// The last claim found nothing more that is due.
    exhausted: bool,
    /// More may have become due since the last claim began.
    replenished: bool,
}

impl Supply {
    pub(super) fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// A claim sees everything that became due before it.
    pub(super) fn claim_began(&mut self) {
        self.replenished = false;
    }

    pub(super) fn claim_ended(&mut self, may_have_more: bool) {
        self.exhausted = !may_have_more;
    }

    /// Something was stored. It may follow an event that is being settled: then it is claimed after that.
    pub(super) fn woken(&mut self, is_settling: bool) {
        self.exhausted = false;
        self.replenished |= is_settling;
    }

    /// Events were settled that held back others. One claim at the end of the run takes these together.
    pub(super) fn unblocked(&mut self) {
        self.replenished = true;
    }

    /// Events are due that a claim which is under way may not have seen.
    pub(super) fn replenished(&mut self) {
        (self.exhausted, self.replenished) = (false, true);
    }

    /// At the end of a run: whether it goes on with another claim.
    pub(super) fn goes_on(&mut self) -> bool {
        self.exhausted &= !self.replenished;
        self.replenished
    }
}
