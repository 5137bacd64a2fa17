//! A node by chance and by weight, in the same short time however many there are.

/// How often a node that will not do is drawn anew before all are looked at. With half of them down
/// that is once in 65,000 times.
const DRAWS: usize = 16;
/// How often the second of two is drawn anew before its neighbours are looked at.
const DRAWS_BESIDE: usize = 4;

/// Walker's alias table: each slot holds a share of its own node and the rest of another's.
#[derive(Debug)]
pub(crate) struct Draw(Box<[Slot]>);

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// The share of the slot that is its own node's, of 2^32.
    own: u32,
    other: u32,
}

impl Draw {
    pub(crate) fn new(weights: &[u32]) -> Self {
        let sum: u64 = weights.iter().copied().map(u64::from).sum();
        let count = weights.len() as u64;
        // In units of 1 / (count * sum) all is whole: a slot holds `sum` of them, a node brings
        // `weight * count`.
        let mut left: Vec<u64> = weights.iter().map(|weight| u64::from(*weight) * count).collect();
        let (mut small, mut large): (Vec<u32>, Vec<u32>) =
            (0_u32..).take(weights.len()).partition(|node| left[*node as usize] < sum);
        let mut slots: Vec<Slot> = (0_u32..).take(weights.len()).map(|other| Slot { own: u32::MAX, other }).collect();
        while let (Some(node), Some(giver)) = (small.pop(), large.pop()) {
            let own = left[node as usize];
            slots[node as usize] = Slot { own: share(own, sum), other: giver };
            left[giver as usize] -= sum - own;
            if left[giver as usize] < sum { small.push(giver) } else { large.push(giver) }
        }
        Self(slots.into())
    }

    /// One node.
    #[inline]
    pub(crate) fn one(&self) -> Option<usize> {
        let chance = fastrand::u64(..);
        let at = usize::try_from((u128::from(chance) * self.0.len() as u128) >> 64).ok()?;
        let slot = self.0.get(at)?;
        // The place took the upper bits, which leaves the lower ones to chance.
        Some(if chance as u32 <= slot.own { at } else { slot.other as usize })
    }

    /// One that will do, unless too many will not.
    #[inline]
    pub(crate) fn find(&self, wanted: impl Fn(usize) -> bool) -> Option<usize> {
        self.find_of(DRAWS, wanted)
    }

    #[inline]
    fn find_of(&self, draws: usize, wanted: impl Fn(usize) -> bool) -> Option<usize> {
        (0..draws).filter_map(|_| self.one()).find(|node| wanted(*node))
    }

    /// The better of two that will do.
    #[inline]
    pub(crate) fn better(
        &self,
        wanted: impl Fn(usize) -> bool,
        is_better: impl Fn(usize, usize) -> bool,
    ) -> Option<usize> {
        let first = self.find(&wanted)?;
        let other = |node: &usize| *node != first && wanted(*node);
        let beside = || (1..=DRAWS_BESIDE).map(|step| (first + step) % self.0.len());
        let second = self.find_of(DRAWS_BESIDE, |node| other(&node)).or_else(|| beside().find(other));
        Some(second.filter(|second| is_better(*second, first)).unwrap_or(first))
    }
}

fn share(part: u64, whole: u64) -> u32 {
    let whole = whole.max(1);
    // Division of 128 bits takes several times as long.
    let share = match u32::try_from(part) {
        Ok(part) => (u64::from(part) << 32) / whole,
        Err(_) => u64::try_from((u128::from(part) << 32) / u128::from(whole)).unwrap_or(u64::MAX),
    };
    u32::try_from(share).unwrap_or(u32::MAX)
}

/// One of those that will do, by chance and by weight; looks at all.
pub(crate) fn among(weights: impl Iterator<Item = (usize, u32)>) -> Option<usize> {
    let (mut sum, mut chosen) = (0_u64, None);
    for (node, weight) in weights {
        sum += u64::from(weight);
        if fastrand::u64(..sum.max(1)) < u64::from(weight) {
            chosen = Some(node);
        }
    }
    chosen
}
