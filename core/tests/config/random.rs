//! No text makes the loader panic.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn no_text_makes_the_loader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        load_text(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_yaml_like_text_makes_the_loader_panic(
        text in concat!(
            r"([a-z_]{1,4}: |- |\[|\]|\{|\}|, |&a |\*a|<<: |'|\n {0,4}|# |\| |> |",
            r"!!str |---|~|[0-9]{1,3}|os\.environ/X){0,60}"
        )
    ) {
        load_text(&text);
    }

    #[test]
    fn no_change_to_the_union_makes_the_loader_panic(
        at in 0.0..1.0f64, cut in 0usize..40, put in "[\\PC\n]{0,12}"
    ) {
        let text = include_str!("../../../conf/union.yaml");
        let mut letters: Vec<char> = text.chars().collect();
        let start = (at * letters.len() as f64) as usize;
        let end = (start + cut).min(letters.len());
        letters.splice(start..end, put.chars());
        load_text(&letters.into_iter().collect::<String>());
    }
}
