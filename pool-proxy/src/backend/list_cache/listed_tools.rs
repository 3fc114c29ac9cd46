//! The tools of a key, as its latest lists described them.
//!
//! A tool is what the page said that named it last. When that page is read again, what it said before is forgotten,
//! and what other pages said stays.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::list_key::ListKey;
use crate::backend::tool_facts::{ToolFacts, tools_in};

/// The tools of the lists of one key.
#[derive(Debug, Default)]
pub(super) struct ListedTools {
    tools: HashMap<String, ListedTool>,
    bytes: usize,
}

/// A tool, and which page listed it.
#[derive(Debug)]
struct ListedTool {
    page: Arc<ListKey>,
    facts: ToolFacts,
}

impl ListedTools {
    /// The facts about the tool of this name, if a list had it.
    pub(super) fn get(&self, name: &str) -> Option<&ToolFacts> {
        self.tools.get(name).map(|tool| &tool.facts)
    }

    /// Takes what a page says of its tools, instead of what it said before.
    pub(super) fn note(&mut self, page: &ListKey, result: &RawValue, bytes_max: usize) {
        self.forget_if(|tool| *tool.page == *page);
        let page = Arc::new(page.clone());
        for (name, facts) in tools_in(result) {
            if let Some(other) = self.tools.remove(&name) {
                self.bytes -= other.bytes(&name);
            }
            let page = Arc::clone(&page);
            let tool = ListedTool { page, facts };
            let bytes = tool.bytes(&name);
            if self.bytes + bytes <= bytes_max {
                self.bytes += bytes;
                self.tools.insert(name, tool);
            }
        }
    }

    fn forget_if(&mut self, is_gone: impl Fn(&ListedTool) -> bool) {
        let bytes = &mut self.bytes;
        self.tools.retain(|name, tool| {
            let is_gone = is_gone(tool);
            if is_gone {
                *bytes -= tool.bytes(name);
            }
            !is_gone
        });
    }

    /// Nothing is known of any tool.
    pub(super) fn forget(&mut self) {
        self.tools.clear();
        self.bytes = 0;
    }
}

impl ListedTool {
    /// How many bytes it counts. The name of its page counts for each tool of the page.
    fn bytes(&self, name: &str) -> usize {
        name.len() + self.page.bytes() + self.facts.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_tools_is_bounded_and_counted_once() {
        let mut tools = ListedTools::default();
        for round in 0..50 {
            let params = format!(r#"{{"cursor":"{}"}}"#, round % 10);
            let page = ListKey::of("tools/list", params.as_bytes()).expect("it is a list");
            let padding = "x".repeat(80);
            let listed =
                format!(r#"{{"tools":[{{"name":"{round}{padding}"}},{{"name":"same"}}]}}"#);
            let listed = RawValue::from_string(listed).expect("it is JSON");
            tools.note(&page, &listed, 1000);
            let counted: usize = tools
                .tools
                .iter()
                .map(|(name, tool)| tool.bytes(name))
                .sum();
            assert_eq!(tools.bytes, counted);
            assert!((1..=1000).contains(&counted), "{counted}");
        }
        tools.forget();
        assert_eq!(tools.bytes, 0);
    }
}
