//! The protocol for others, made of the types: a JSON schema, the types of the Node client, and the tables
//! of the documentation.
//!
//! The test fails if one of the files is not what the types say. With `UPDATE_PROTOCOL=1` it writes them.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::answer::{
    CancelResult, DoneResult, InitializeResult, ListResult, ShutdownResult, SpawnResult,
    WriteResult,
};
use super::fault::Fault;
use super::notice::{ExitNotice, OutputNotice, SpawnedNotice, StreamEndedNotice, TerminatedNotice};
use super::request::{
    CancelParams, CloseStdinParams, GrantParams, InitializeParams, ListParams, ShutdownParams,
    SignalParams, SpawnParams, WriteParams,
};

#[test]
fn schema_types_of_node_and_tables_are_what_the_types_say() {
    let protocol = protocol();
    let schema = serde_json::to_string_pretty(&protocol).unwrap() + "\n";
    compare("protocol.schema.json", |_| schema.clone());
    compare("node/protocol.d.ts", |_| declarations(&protocol));
    compare("../docs/supervisor.md", |page| {
        let (before, rest) = page.split_once(TABLES_BEGIN).expect("the page has a mark");
        let (_, after) = rest.split_once(TABLES_END).expect("the page has a mark");
        [
            before,
            TABLES_BEGIN,
            "\n\n",
            &tables(&protocol),
            "\n",
            TABLES_END,
            after,
        ]
        .concat()
    });
}

fn compare(path: &str, expected: impl Fn(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let found = fs::read_to_string(&path).unwrap_or_default();
    let expected = expected(&found);
    if found == expected {
        return;
    }
    if env::var_os("UPDATE_PROTOCOL").is_some() {
        fs::write(&path, expected).unwrap();
    } else {
        panic!(
            "{} is out of date: run with UPDATE_PROTOCOL=1",
            path.display()
        );
    }
}

/// All messages, and the definitions that they name.
fn protocol() -> Value {
    let mut asked = SchemaSettings::draft2020_12()
        .for_deserialize()
        .into_generator();
    let mut told = SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator();
    macro_rules! method {
        ($name:literal, $params:ty, $result:ty) => {
            (
                $name,
                asked.subschema_for::<$params>(),
                told.subschema_for::<$result>(),
            )
        };
    }
    let methods = [
        method!("initialize", InitializeParams, InitializeResult),
        method!("spawn", SpawnParams, SpawnResult),
        method!("write", WriteParams, WriteResult),
        method!("closeStdin", CloseStdinParams, DoneResult),
        method!("signal", SignalParams, DoneResult),
        method!("cancel", CancelParams, CancelResult),
        method!("grant", GrantParams, DoneResult),
        method!("list", ListParams, ListResult),
        method!("shutdown", ShutdownParams, ShutdownResult),
    ];
    assert_eq!(
        methods.each_ref().map(|(name, ..)| *name),
        super::envelope::METHODS
    );
    let methods: Map<String, Value> = methods
        .into_iter()
        .map(|(name, params, result)| {
            (name.to_owned(), json!({"params": params, "result": result}))
        })
        .collect();
    let notifications = json!({
        "spawned": told.subschema_for::<SpawnedNotice>(),
        "output": told.subschema_for::<OutputNotice>(),
        "streamEnded": told.subschema_for::<StreamEndedNotice>(),
        "exit": told.subschema_for::<ExitNotice>(),
        "terminated": told.subschema_for::<TerminatedNotice>(),
    });
    let error = told.subschema_for::<Fault>();
    let mut definitions = definitions(&mut asked);
    definitions.extend(self::definitions(&mut told));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "pool-supervisor, version 1 of the protocol",
        "methods": methods,
        "notifications": notifications,
        "error": error,
        "$defs": definitions,
    })
}

fn definitions(generator: &mut SchemaGenerator) -> Map<String, Value> {
    generator.take_definitions(true)
}

/// The same as declarations of TypeScript.
fn declarations(protocol: &Value) -> String {
    let mut text = String::from("// Made of the types of the program by its tests. Do not edit.\n");
    for (name, schema) in object(&protocol["$defs"]) {
        text.push('\n');
        comment(&mut text, "", schema);
        match object_properties(schema) {
            Some(properties) => {
                writeln!(text, "export interface {name} {{").unwrap();
                for (field, property) in &properties {
                    comment(&mut text, "  ", property);
                    let mark = if is_required(schema, field) { "" } else { "?" };
                    writeln!(text, "  {field}{mark}: {};", type_of(property)).unwrap();
                }
                text.push_str("}\n");
            }
            None => writeln!(text, "export type {name} = {};", type_of(schema)).unwrap(),
        }
    }
    text.push_str(
        "\n/** The parameters and the result of each method. */\nexport interface Methods {\n",
    );
    for (name, method) in object(&protocol["methods"]) {
        let (params, result) = (type_of(&method["params"]), type_of(&method["result"]));
        writeln!(text, "  {name}: {{ params: {params}; result: {result} }};").unwrap();
    }
    text.push_str(
        "}\n\n/** The parameters of each notification. */\nexport interface Notifications {\n",
    );
    for (name, params) in object(&protocol["notifications"]) {
        writeln!(text, "  {name}: {};", type_of(params)).unwrap();
    }
    text.push_str("}\n");
    text
}

/// The same as tables of Markdown.
fn tables(protocol: &Value) -> String {
    let mut text = String::new();
    text.push_str("| method | parameters | result |\n|---|---|---|\n");
    for (name, method) in object(&protocol["methods"]) {
        let (params, result) = (type_of(&method["params"]), type_of(&method["result"]));
        writeln!(text, "| `{name}` | `{params}` | `{result}` |").unwrap();
    }
    text.push_str("\n| notification | parameters |\n|---|---|\n");
    for (name, params) in object(&protocol["notifications"]) {
        writeln!(text, "| `{name}` | `{}` |", type_of(params)).unwrap();
    }
    for (name, schema) in object(&protocol["$defs"]) {
        writeln!(text, "\n### {name}\n\n{}\n", description(schema)).unwrap();
        if let Some(properties) = object_properties(schema) {
            if properties.is_empty() {
                text.push_str("It is empty.\n");
                continue;
            }
            text.push_str("| field | type | meaning |\n|---|---|---|\n");
            for (field, property) in &properties {
                let mark = if is_required(schema, field) { "" } else { "?" };
                let kind = type_of(property).replace('|', "\\|");
                let meaning = description(property);
                writeln!(text, "| `{field}{mark}` | `{kind}` | {meaning} |").unwrap();
            }
        } else {
            text.push_str("| value | meaning |\n|---|---|\n");
            for value in schema["oneOf"].as_array().into_iter().flatten() {
                let meaning = description(value);
                writeln!(
                    text,
                    "| `{}` | {meaning} |",
                    value["const"].as_str().unwrap()
                )
                .unwrap();
            }
        }
    }
    text
}

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().expect("it is an object")
}

fn object_properties(schema: &Value) -> Option<Map<String, Value>> {
    let is_object = schema["type"] == "object";
    is_object.then(|| {
        schema["properties"]
            .as_object()
            .cloned()
            .unwrap_or_default()
    })
}

fn is_required(schema: &Value, field: &str) -> bool {
    let required = schema["required"].as_array();
    required.is_some_and(|names| names.iter().any(|name| name == field))
}

fn description(schema: &Value) -> String {
    let text = schema["description"]
        .as_str()
        .expect("everything is described");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn comment(text: &mut String, indent: &str, schema: &Value) {
    writeln!(text, "{indent}/** {} */", description(schema)).unwrap();
}

fn type_of(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        return reference.rsplit('/').next().unwrap().to_owned();
    }
    if let Some(value) = schema.get("const") {
        return value.to_string();
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(options) = schema[key].as_array() {
            return options.iter().map(type_of).collect::<Vec<_>>().join(" | ");
        }
    }
    match &schema["type"] {
        Value::Array(types) => {
            let types = types.iter().map(|kind| type_of(&with_type(schema, kind)));
            types.collect::<Vec<_>>().join(" | ")
        }
        Value::String(kind) => match kind.as_str() {
            "integer" | "number" => "number".to_owned(),
            "array" => format!("{}[]", type_of(&schema["items"])),
            "object" => format!(
                "Record<string, {}>",
                type_of(&schema["additionalProperties"])
            ),
            other => other.to_owned(),
        },
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
            panic!("a type that is not known: {other} of {schema}")
        }
    }
}

fn with_type(schema: &Value, kind: &Value) -> Value {
    let mut schema = schema.clone();
    schema["type"] = kind.clone();
    schema
}

const TABLES_BEGIN: &str = "<!-- made of the types by a test: begin -->";
const TABLES_END: &str = "<!-- made of the types by a test: end -->";
