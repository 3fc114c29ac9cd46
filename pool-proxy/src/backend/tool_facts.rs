//! What a list of tools says of each of them, as far as the proxy has to know.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// What is known of a tool.
#[derive(Debug, Clone)]
pub(crate) struct ToolFacts {
    /// Its server says that it does no harm to call it twice.
    pub(super) is_repeatable: bool,
    /// The arguments that clients of revision 2026-07-28 repeat in headers.
    pub(crate) mirrored: Arc<[MirroredArgument]>,
}

/// An argument that is repeated in a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MirroredArgument {
    /// Its name, in small letters.
    pub(crate) header: String,
    /// Where it is in the arguments.
    pub(crate) path: Vec<String>,
}

impl ToolFacts {
    /// How much text they hold, with what it takes to hold it.
    pub(super) fn bytes(&self) -> usize {
        let of = |one: &MirroredArgument| {
            let path: usize = one.path.iter().map(|step| step.len() + STEP_BYTES).sum();
            one.header.len() + path + ARGUMENT_BYTES
        };
        self.mirrored.iter().map(of).sum()
    }
}

/// The tools in the result of `tools/list`, by their names. What cannot be read of a tool is not known of it.
pub(super) fn tools_in(result: &RawValue) -> Vec<(String, ToolFacts)> {
    #[derive(Deserialize)]
    struct Tools {
        tools: Vec<Value>,
    }
    let tools = serde_json::from_str::<Tools>(result.get());
    let tools = tools.map_or(Vec::new(), |listed| listed.tools);
    let tools = tools.into_iter().filter_map(|tool| {
        let name = tool.get("name")?.as_str()?.to_owned();
        let is_hinted = |hint: &str| tool["annotations"][hint] == true;
        let facts = ToolFacts {
            is_repeatable: is_hinted("readOnlyHint") || is_hinted("idempotentHint"),
            mirrored: mirrored(&tool["inputSchema"]).into(),
        };
        Some((name, facts))
    });
    tools.collect()
}

/// The mirrored arguments of a schema. None if the schema makes a mistake there, such as a name that cannot be one of
/// a header, or is there twice: clients of the revision do not use such a tool.
fn mirrored(schema: &Value) -> Vec<MirroredArgument> {
    let mut found = Vec::new();
    let is_valid = collect(schema, &mut Vec::new(), &mut found).is_some();
    let names: BTreeSet<_> = found.iter().map(|one| one.header.as_str()).collect();
    match is_valid && names.len() == found.len() && found.len() <= MIRRORED_MAX {
        true => found,
        false => Vec::new(),
    }
}

/// Follows `properties` only, as the revision says. `None` if an annotation is not valid.
fn collect(
    schema: &Value,
    path: &mut Vec<String>,
    found: &mut Vec<MirroredArgument>,
) -> Option<()> {
    let none = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.unwrap_or(&none) {
        path.push(name.clone());
        if let Some(annotation) = property.get("x-mcp-header") {
            let kind = property.get("type").and_then(Value::as_str)?;
            if !matches!(kind, "string" | "integer" | "boolean") {
                return None;
            }
            let name = annotation.as_str().filter(|name| is_token(name))?;
            found.push(MirroredArgument {
                header: format!("mcp-param-{}", name.to_ascii_lowercase()),
                path: path.clone(),
            });
        }
        if path.len() < DEPTH_MAX {
            collect(property, path, found)?;
        }
        path.pop();
    }
    Some(())
}

/// Whether it can stand in the name of a header.
fn is_token(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_allowed)
}

/// Of one tool: more than a request has room for.
const MIRRORED_MAX: usize = 64;
/// Of a schema.
const DEPTH_MAX: usize = 16;
/// Of one step in memory, beside its text.
const STEP_BYTES: usize = 24;
/// Of one argument in memory, beside its texts.
const ARGUMENT_BYTES: usize = 48;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(schema: &Value) -> Vec<(String, String)> {
        let all = mirrored(schema).into_iter();
        all.map(|one| (one.header.clone(), one.path.join(".")))
            .collect()
    }

    #[test]
    fn arguments_are_mirrored_along_properties() {
        let schema = json!({ "properties": {
            "a": { "type": "string", "x-mcp-header": "Region" },
            "b": { "type": "object", "properties": { "c": { "type": "integer", "x-mcp-header": "N" } } },
            "d": { "type": "array", "items": { "type": "string", "x-mcp-header": "No" } },
        } });
        let of = |header: &str, path: &str| (header.to_owned(), path.to_owned());
        assert_eq!(
            found(&schema),
            [of("mcp-param-region", "a"), of("mcp-param-n", "b.c")]
        );
        for bad in [
            json!({ "type": "number", "x-mcp-header": "N" }),
            json!({ "type": "string", "x-mcp-header": "" }),
            json!({ "type": "string", "x-mcp-header": "a b" }),
            json!({ "type": "string", "x-mcp-header": "region" }),
        ] {
            let good = json!({ "type": "string", "x-mcp-header": "Region" });
            let schema = json!({ "properties": { "a": good, "b": bad } });
            assert!(found(&schema).is_empty(), "{schema}");
        }
    }
}
