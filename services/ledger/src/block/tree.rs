//! Merkle trees of RFC 6962: heads, audit paths, and what a path proves.

use sha2::{Digest as _, Sha256};

use super::Hash;

/// The most hashes of an inclusion proof: one per level of a tree of 2³² leaves.
const MAX_PATH: usize = 32;

/// The hash of a leaf: SHA-256 of 0x00 and the data (RFC 6962, section 2.1).
pub fn leaf_hash(data: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update([0]).chain_update(data).finalize().into())
}

fn node_hash(left: Hash, right: Hash) -> Hash {
    Hash(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// A tree head in the making (RFC 6962, section 2.1); takes memory for one hash per level only.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// Heads of full subtrees from left to right; the sizes are the bits of `leaves`.
    heads: Vec<Hash>,
    leaves: u64,
}

impl Tree {
    /// Adds a leaf on the right.
    pub fn push(&mut self, leaf: Hash) {
        let mut head = leaf;
        let mut size = self.leaves;
        while size & 1 == 1 {
            let left = self.heads.pop().expect("a set bit has a subtree");
            head = node_hash(left, head);
            size >>= 1;
        }
        self.heads.push(head);
        self.leaves += 1;
    }

    /// How many leaves there are.
    pub fn leaves(&self) -> u64 {
        self.leaves
    }

    /// The tree head; that of an empty tree is the hash of nothing.
    pub fn root(&self) -> Hash {
        let mut heads = self.heads.iter().rev().copied();
        match heads.next() {
            None => Hash(Sha256::digest([]).into()),
            Some(last) => heads.fold(last, |right, left| node_hash(left, right)),
        }
    }
}

impl FromIterator<Hash> for Tree {
    fn from_iter<I: IntoIterator<Item = Hash>>(leaves: I) -> Self {
        let mut tree = Self::default();
        leaves.into_iter().for_each(|leaf| tree.push(leaf));
        tree
    }
}

/// The audit path of the leaf at `index` (RFC 6962, section 2.1.1), from the leaf up.
pub fn audit_path(leaves: &[Hash], index: usize) -> Vec<Hash> {
    assert!(index < leaves.len(), "a path is asked for a leaf that is there");
    if leaves.len() == 1 {
        return Vec::new();
    }
    let split = largest_power_of_two_below(leaves.len());
    let (left, right) = leaves.split_at(split);
    let root = |leaves: &[Hash]| leaves.iter().copied().collect::<Tree>().root();
    let (mut path, sibling) = if index < split {
        (audit_path(left, index), root(right))
    } else {
        (audit_path(right, index - split), root(left))
    };
    path.push(sibling);
    path
}

fn largest_power_of_two_below(size: usize) -> usize {
    let mut split = 1;
    while split * 2 < size {
        split *= 2;
    }
    split
}

/// The tree head that an audit path leads to (RFC 9162, section 2.1.3.2); `None` when the path does not fit the tree.
pub fn root_of_path(leaf: Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    if index >= size || path.len() > MAX_PATH {
        return None;
    }
    let (mut node, mut last, mut head) = (index, size - 1, leaf);
    for &sibling in path {
        if last == 0 {
            return None;
        }
        if node & 1 == 1 || node == last {
            head = node_hash(sibling, head);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            head = node_hash(head, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leaves and tree heads of the test vectors that implementations of RFC 6962 share.
    const LEAVES: [&str; 8] =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn leaves(count: usize) -> Vec<Hash> {
        LEAVES[..count].iter().map(|data| leaf_hash(&hex::decode(data).expect("hexadecimal"))).collect()
    }

    #[test]
    fn tree_heads_are_those_of_rfc_6962() {
        for (size, expected) in ROOTS.iter().enumerate() {
            let tree: Tree = leaves(size).into_iter().collect();
            assert_eq!(tree.root().to_string(), *expected, "{size} leaves");
        }
    }

    #[test]
    fn audit_paths_are_those_of_rfc_6962() {
        let path = |index: usize, size: usize| -> Vec<String> {
            audit_path(&leaves(size), index).iter().map(Hash::to_string).collect()
        };
        assert!(path(0, 1).is_empty());
        assert_eq!(
            path(0, 8),
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ]
        );
        assert_eq!(
            path(5, 8),
            [
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ]
        );
        assert_eq!(path(2, 3), ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]);
    }

    #[test]
    fn every_path_proves_its_leaf_and_no_other() {
        for size in 1..=64_usize {
            let leaves: Vec<Hash> = (0..size).map(|leaf| leaf_hash(&leaf.to_be_bytes())).collect();
            let root = leaves.iter().copied().collect::<Tree>().root();
            for index in 0..size {
                let path = audit_path(&leaves, index);
                let proven =
                    |leaf: Hash, index: usize| root_of_path(leaf, index as u64, size as u64, &path) == Some(root);
                assert!(proven(leaves[index], index), "leaf {index} of {size}");
                assert!(!proven(leaf_hash(b"other"), index));
                for other in (0..size).filter(|other| *other != index) {
                    assert!(!proven(leaves[index], other), "leaf {index} of {size} at {other}");
                }
            }
        }
    }
}
