//! The tree over all blocks of a shard (RFC 6962), from stored inner nodes, so that a day or a path takes few reads however long the chain is.
//!
//! Pure: no I/O. It says which nodes are needed ([`edges`], [`tiles`]) and puts them together ([`root`], [`path`]).
//!
//! The leaf of block *n* has the place *n* − 1 and is the leaf hash of the block's hash.
//! A stored node of level *l* is the head of a full subtree of 256ˡ leaves; it never changes. Level 0 are the leaves themselves.

use crate::block::{Hash, Tree, audit_path, leaf_hash};

/// Two to this power children make a stored node.
pub(super) const BITS: u32 = 8;

/// Nodes of one level, from a place up to another that is not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) level: u32,
    pub(super) start: i64,
    pub(super) end: i64,
}

/// The leaf of a block.
pub(super) fn leaf(block_hash: Hash) -> Hash {
    leaf_hash(&block_hash.0)
}

/// The head of a subtree of which these are the children.
pub(super) fn head(children: &[Hash]) -> Hash {
    children.iter().copied().collect::<Tree>().root()
}

/// How many nodes of a level are full in a tree of this size.
pub(super) fn full(size: i64, level: u32, bits: u32) -> i64 {
    size.checked_shr(level * bits).unwrap_or(0)
}

/// The first level at which one tile holds everything.
fn top(size: i64, bits: u32) -> u32 {
    (0..).find(|level| nodes(size, *level, bits) <= 1 << bits).unwrap_or(0)
}

/// How many nodes a level has, the unfinished one at the end included.
fn nodes(size: i64, level: u32, bits: u32) -> i64 {
    let count = full(size, level, bits);
    count + i64::from(count << (level * bits) != size)
}

fn tile_start(place: i64, level: u32, top: u32, bits: u32) -> i64 {
    if level == top { 0 } else { (place >> bits) << bits }
}

/// The full nodes at the right edge of the tree, lowest level first.
pub(super) fn edges(size: i64, bits: u32) -> Vec<Range> {
    let top = top(size, bits);
    let edge = |level| {
        let end = full(size, level, bits);
        Range { level, start: tile_start(end, level, top, bits), end }
    };
    (0..=top).map(edge).collect()
}

/// The full nodes beside a leaf and its ancestors, lowest level first.
pub(super) fn tiles(place: i64, size: i64, bits: u32) -> Vec<Range> {
    let top = top(size, bits);
    let tile = |level| {
        let start = tile_start(place >> (level * bits), level, top, bits);
        Range { level, start, end: (start + (1 << bits)).min(full(size, level, bits)) }
    };
    (0..=top).map(tile).collect()
}

/// What the nodes of [`edges`] add up to at each level: the unfinished node there, and last the tree head.
fn carried(edges: &[Vec<Hash>]) -> Vec<Option<Hash>> {
    let mut carried = vec![None];
    for nodes in edges {
        let before = carried.last().copied().flatten();
        let members: Vec<Hash> = nodes.iter().copied().chain(before).collect();
        carried.push((!members.is_empty()).then(|| head(&members)));
    }
    carried
}

/// The tree head, from the nodes of [`edges`].
pub(super) fn root(edges: &[Vec<Hash>]) -> Hash {
    carried(edges).pop().flatten().unwrap_or_else(|| head(&[]))
}

/// The audit path of a leaf, from the nodes of [`tiles`] and of [`edges`].
pub(super) fn path(place: i64, size: i64, tiles_read: &[Vec<Hash>], edges_read: &[Vec<Hash>], bits: u32) -> Vec<Hash> {
    let carried = carried(edges_read);
    let mut path = Vec::new();
    for ((tile, edge), nodes) in tiles(place, size, bits).iter().zip(edges(size, bits)).zip(tiles_read) {
        let unfinished = carried.get(tile.level as usize).copied().flatten().filter(|_| tile.start == edge.start);
        let members: Vec<Hash> = nodes.iter().copied().chain(unfinished).collect();
        let inside = usize::try_from((place >> (tile.level * bits)) - tile.start).unwrap_or(usize::MAX);
        if inside < members.len() {
            path.extend(audit_path(&members, inside));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::root_of_path;

    /// All full nodes of a tree, level by level.
    fn stored(leaves: &[Hash], bits: u32) -> Vec<Vec<Hash>> {
        let mut levels = vec![leaves.to_vec()];
        while levels.last().is_some_and(|level| !level.is_empty()) {
            let below = levels.last().expect("one level at least");
            levels.push(below.chunks_exact(1 << bits).map(head).collect());
        }
        levels
    }

    fn read(levels: &[Vec<Hash>], ranges: &[Range]) -> Vec<Vec<Hash>> {
        let place = |number: i64| usize::try_from(number).expect("small");
        ranges.iter().map(|r| levels[r.level as usize][place(r.start)..place(r.end)].to_vec()).collect()
    }

    #[test]
    fn heads_and_paths_are_those_of_the_whole_tree() {
        for (bits, sizes) in [(1, 1..70_usize), (2, 1..90), (3, 60..70), (8, 250..260)] {
            for size in sizes {
                let leaves: Vec<Hash> = (0..size).map(|leaf| leaf_hash(&leaf.to_be_bytes())).collect();
                let (levels, whole) = (stored(&leaves, bits), i64::try_from(size).expect("small"));
                let edges_read = read(&levels, &edges(whole, bits));
                assert_eq!(root(&edges_read), head(&leaves), "{size} leaves, {bits} bits");
                for place in 0..size {
                    let wanted = i64::try_from(place).expect("small");
                    let tiles_read = read(&levels, &tiles(wanted, whole, bits));
                    let path = path(wanted, whole, &tiles_read, &edges_read, bits);
                    assert_eq!(path, audit_path(&leaves, place), "leaf {place} of {size}, {bits} bits");
                    let led = root_of_path(leaves[place], place as u64, size as u64, &path);
                    assert_eq!(led, Some(head(&leaves)));
                }
            }
        }
    }

    #[test]
    fn few_nodes_are_read_however_long_the_chain_is() {
        for size in [1, 255, 256, 257, 65_536, 65_537, 10_000_000_000] {
            for ranges in [edges(size, BITS), tiles(size / 2, size, BITS), tiles(size - 1, size, BITS)] {
                assert!(ranges.len() <= 5 && ranges.iter().all(|range| range.end - range.start <= 256), "{ranges:?}");
            }
        }
    }
}
