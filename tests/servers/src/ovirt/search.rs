//! The part of the engine's search language that clients use: conditions joined by `and` and `or`, `sortby`, `page`.

/// A search.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Search {
    /// Conditions, the first of each line joined by `or`, the rest by `and`.
    any: Vec<Vec<Condition>>,
    /// Whether the results are sorted by name.
    pub sorted: bool,
    /// The page, from 1.
    pub page: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    field: String,
    value: String,
    equal: bool,
}

impl Search {
    /// Reads a search; none when it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let words = words(text)?;
        let mut search = Self::default();
        let mut all = Vec::new();
        let mut rest = words.iter().map(String::as_str).peekable();
        while let Some(word) = rest.next() {
            match word.to_lowercase().as_str() {
                "and" if !all.is_empty() => {}
                "or" if !all.is_empty() => search.any.push(std::mem::take(&mut all)),
                "sortby" => {
                    (rest.next()? == "name").then_some(())?;
                    search.sorted = true;
                    rest.next_if(|word| ["asc", "desc"].contains(word));
                }
                "page" => search.page = Some(rest.next()?.parse().ok().filter(|page| *page > 0)?),
                field => {
                    let operator = rest.next()?;
                    let equal = match operator {
                        "=" => true,
                        "!=" => false,
                        _ => return None,
                    };
                    ["name", "id", "cluster", "host", "status"]
                        .contains(&field)
                        .then_some(())?;
                    let value = rest.next()?.to_owned();
                    all.push(Condition {
                        field: field.to_owned(),
                        value,
                        equal,
                    });
                }
            }
        }
        if !all.is_empty() {
            search.any.push(all);
        }
        Some(search)
    }

    /// Whether something with these values is found.
    pub fn finds<'a>(&self, sensitive: bool, value: impl Fn(&str) -> &'a str) -> bool {
        let holds = |condition: &Condition| {
            let (mut pattern, mut found) =
                (condition.value.clone(), value(&condition.field).to_owned());
            if !sensitive {
                (pattern, found) = (pattern.to_lowercase(), found.to_lowercase());
            }
            let pattern: Vec<char> = pattern.chars().collect();
            let found: Vec<char> = found.chars().collect();
            matches(&pattern, &found) == condition.equal
        };
        self.any.is_empty() || self.any.iter().any(|all| all.iter().all(holds))
    }
}

/// Words, operators and quoted values.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => {
                let end = rest[1..].find('"')?;
                words.push(rest[1..=end].to_owned());
                rest = rest[end + 2..].trim_start();
                continue;
            }
            '=' => 1,
            '!' if rest.starts_with("!=") => 2,
            _ => rest
                .find(|c: char| c.is_whitespace() || "=!\"".contains(c))
                .unwrap_or(rest.len()),
        };
        if length == 0 {
            return None;
        }
        words.push(rest[..length].to_owned());
        rest = rest[length..].trim_start();
    }
    Some(words)
}

fn matches(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['*', rest @ ..] => (0..=text.len()).any(|from| matches(rest, &text[from..])),
        [first, rest @ ..] => text.first() == Some(first) && matches(rest, &text[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(search: &str, sensitive: bool) -> Vec<&'static str> {
        let search = Search::parse(search).expect("a search");
        let all = ["node1", "node2", "Node10", "my node"];
        all.into_iter()
            .filter(|name| search.finds(sensitive, |_| name))
            .collect()
    }

    #[test]
    fn searches_find_what_the_engines_do() {
        assert_eq!(names("name=node1", false), ["node1"]);
        assert_eq!(names("name=NODE1", false), ["node1"]);
        assert!(names("name=NODE1", true).is_empty());
        assert_eq!(names("name=node1*", false), ["node1", "Node10"]);
        assert_eq!(names("name=\"my node\"", false), ["my node"]);
        assert_eq!(
            names("name = node1 or name = node2", false),
            ["node1", "node2"]
        );
        assert_eq!(names("name!=node* page 2", false), ["my node"]);
        assert_eq!(
            Search::parse("sortby name asc page 3").map(|search| (search.sorted, search.page)),
            Some((true, Some(3)))
        );
        for wrong in ["name=", "nome=a", "name=\"a", "page 0", "a b", "=", "or"] {
            assert_eq!(Search::parse(wrong), None, "{wrong}");
        }
    }
}
