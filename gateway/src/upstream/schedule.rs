//! The order in which nodes take turns: every node as often as its weight says, and spread out as
//! evenly as can be.

/// Longest schedule. Weights whose sum, divided by their common divisor, is larger are scaled
/// down, which keeps memory and build time small and costs a share of a percent in accuracy.
const MAX_SLOTS: u64 = 1 << 16;
/// The length of a round, in which turns have their places.
const ROUND: f64 = 4_294_967_296.0;

/// A round of node indices: node `i` stands in it `weights[i]` times (after reduction). Turn `k`
/// of a node with weight `w` belongs at `(k + offset) / w` of the round; sorting by that place
/// spreads each node evenly, and offsets that differ keep equal nodes in their order.
pub(super) fn interleave(weights: &[u32]) -> Box<[u32]> {
    let weights = reduced(weights);
    let count = weights.len().max(1) as f64;
    let mut nodes: Vec<u32> = (0_u32..).take(weights.len()).collect();
    nodes.sort_by_key(|node| weights[*node as usize]);
    // The place as a share of 2^32 in the upper half, the node in the lower. Turns of nodes of the
    // same weight are in order as they come, and a sort that finds such runs only merges them.
    let mut slots: Vec<u64> = Vec::with_capacity(weights.iter().map(|weight| *weight as usize).sum());
    for equals in nodes.chunk_by(|a, b| weights[*a as usize] == weights[*b as usize]) {
        let weight = weights[equals[0] as usize];
        for turn in 0..weight {
            slots.extend(equals.iter().map(|node| {
                let offset = (f64::from(*node) + 0.5) / count;
                let place = (f64::from(turn) + offset) / f64::from(weight);
                ((place * ROUND) as u64) << 32 | u64::from(*node)
            }));
        }
    }
    slots.sort();
    slots.into_iter().map(|slot| slot as u32).collect()
}

fn reduced(weights: &[u32]) -> Vec<u32> {
    let divisor = weights.iter().fold(0, |a, b| gcd(a, *b)).max(1);
    let sum: u64 = weights.iter().map(|w| u64::from(w / divisor)).sum();
    // With more nodes than slots every node still gets one turn.
    let scale = sum.div_ceil(MAX_SLOTS).max(1);
    let scaled = |w: u32| u32::try_from((u64::from(w / divisor) / scale).max(1)).unwrap_or(u32::MAX);
    weights.iter().map(|w| if *w == 0 { 0 } else { scaled(*w) }).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equal_nodes_take_turns_in_order() {
        assert_eq!(*interleave(&[1, 1, 1]), [0, 1, 2]);
        assert_eq!(*interleave(&[100, 100]), [0, 1]);
    }

    #[test]
    fn nobody_and_weight_0_get_no_turn() {
        assert!(interleave(&[]).is_empty());
        assert!(interleave(&[0, 0]).is_empty());
        assert_eq!(*interleave(&[0, 3]), [1]);
    }

    #[test]
    fn many_nodes_with_large_weights_stay_bounded() {
        let weights: Vec<u32> = (0..10_000).map(|i| 1 + i % 10_000).collect();
        assert!(interleave(&weights).len() < 80_000);
    }

    proptest! {
        #[test]
        fn every_node_has_as_many_turns_as_its_weight_and_never_waits_long(weights in prop::collection::vec(1_u32..50, 1..8)) {
            let schedule = interleave(&weights);
            let divisor = weights.iter().fold(0, |a, b| gcd(a, *b));
            for (index, weight) in (0_u32..).zip(&weights) {
                let turns: Vec<usize> = (0..schedule.len()).filter(|i| schedule[*i] == index).collect();
                prop_assert_eq!(turns.len(), (*weight / divisor) as usize);
                // Over two rounds, the longest wait is at most twice the fair one, plus one turn of each other.
                let fair = schedule.len() / turns.len();
                for pair in turns.windows(2) {
                    prop_assert!(pair[1] - pair[0] <= 2 * fair + weights.len(), "{schedule:?}");
                }
            }
        }
    }
}
