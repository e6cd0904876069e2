//! Several observers look at one thing: how many must have been able to look before what one of them saw counts.

/// Why what the others saw says too little, if more than half of `all` observers could not look: a machine on which
/// most agents are not scheduled disturbs the rest, too.
pub fn too_few(unable: usize, all: usize) -> Option<String> {
    (2 * unable > all).then(|| format!("{unable} of {all} observers could not look"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_two_is_enough_and_one_of_three_is_not() {
        assert_eq!(too_few(0, 1), None);
        assert_eq!(too_few(1, 2), None);
        assert_eq!(too_few(2, 3).expect("too few"), "2 of 3 observers could not look");
        assert!(too_few(3, 4).is_some() && too_few(2, 4).is_none());
    }
}
