//! Queries in WQL.

/// A query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query(String);

impl Query {
    /// All instances of a class.
    #[must_use]
    pub fn all(class: &str) -> Self {
        Self(format!("select * from {class}"))
    }

    /// Only those of which the text `property` is `value`, without regard to case: compare again what comes.
    #[must_use]
    pub fn and_is(self, property: &str, value: &str) -> Self {
        let value = quote(value);
        self.narrowed(&format!("{property} = {value}"))
    }

    /// Only those of which the number `property` is `value`.
    #[must_use]
    pub fn and_equals(self, property: &str, value: u32) -> Self {
        self.narrowed(&format!("{property} = {value}"))
    }

    /// Only those of which `property` has no value.
    #[must_use]
    pub fn and_is_null(self, property: &str) -> Self {
        self.narrowed(&format!("{property} is null"))
    }

    fn narrowed(self, condition: &str) -> Self {
        let word = if self.0.contains(" where ") {
            "and"
        } else {
            "where"
        };
        Self(format!("{} {word} {condition}", self.0))
    }

    /// The query as text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// A text as a literal, whatever is in it.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('\'');
    for character in text.chars() {
        if ['\\', '\''].contains(&character) {
            literal.push('\\');
        }
        literal.push(character);
    }
    literal.push('\'');
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_literal() {
        assert_eq!(quote("O'Brien"), r"'O\'Brien'");
        assert_eq!(quote(r"a\' or 1=1"), r"'a\\\' or 1=1'");
        let query = Query::all("C")
            .and_is("A", "x where y")
            .and_is_null("B")
            .and_is("D", "\\");
        assert_eq!(
            query.text(),
            r"select * from C where A = 'x where y' and B is null and D = '\\'"
        );
    }

    #[test]
    fn the_word_where_in_a_value_does_not_count() {
        // Only the first condition decides; a value cannot come before it.
        assert_eq!(
            Query::all("C").and_is("A", "b").text(),
            "select * from C where A = 'b'"
        );
    }
}
