//! `docs/hyperparameters.md` says what the table of hyperparameters says.
//!
//! With `KINGLET_WRITE_DOCS` set, the page is written anew.

use kinglet_train::hyp::{Hyp, KEYS, builtin, builtin_names};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/hyperparameters.md");
/// Between these the page holds the table.
const MARKS: [&str; 2] = ["<!-- table -->\n", "<!-- end of table -->\n"];

fn table() -> String {
    let sets: Vec<Hyp> = builtin_names().map(|n| Hyp::parse(builtin(n).unwrap(), n).unwrap()).collect();
    let mut text = String::from("| key |");
    builtin_names().for_each(|name| text.push_str(&format!(" {name} |")));
    text.push_str(" may be | evolves in | what it is |\n|---|");
    text.push_str(&"---|".repeat(sets.len() + 3));
    text.push('\n');
    for (place, k) in KEYS.iter().enumerate() {
        text.push_str(&format!("| `{}` |", k.key));
        sets.iter().for_each(|hyp| text.push_str(&format!(" {} |", hyp.entries()[place].1)));
        let evolves = k.evolves.map_or(String::new(), |(low, high)| format!("{low} to {high}"));
        text.push_str(&format!(" {} to {} | {evolves} | {} |\n", k.low, k.high, k.doc));
    }
    text
}

#[test]
fn the_page_of_hyperparameters_is_that_of_the_code() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let start = page.find(MARKS[0]).expect("the page has the first mark") + MARKS[0].len();
    let end = page.find(MARKS[1]).expect("the page has the second mark");
    if std::env::var_os("KINGLET_WRITE_DOCS").is_some() {
        std::fs::write(PAGE, format!("{}{}{}", &page[..start], table(), &page[end..])).unwrap();
        return;
    }
    assert_eq!(page[start..end], table(), "run the tests with KINGLET_WRITE_DOCS=1 to write the table anew");
}

#[test]
fn what_evolves_stays_within_what_a_file_may_give() {
    for k in KEYS {
        let (low, high) = k.evolves.unwrap_or((k.low, k.high));
        assert!(k.low <= low && low < high && high <= k.high, "{}", k.key);
        assert!((k.low..=k.high).contains(&k.default), "{}", k.key);
    }
}
