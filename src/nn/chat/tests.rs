//! Templates of real models, and templates that mean harm.

use super::*;

const CHATML: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}\
    {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// Like Llama 3: the start token comes with the first message, contents are trimmed.
const HEADERS: &str = "{%- for message in messages %}
    {%- set head = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' %}
    {%- if loop.index0 == 0 %}{% set head = bos_token + head %}{% endif %}
    {{- head + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
";

/// Like Phi-3: roles other than user and assistant are left out.
const PHI: &str = "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}<|user|>\n{{ m.content }}<|end|>\n\
    <|assistant|>\n{% elif m.role == 'assistant' %}{{ m.content }}<|end|>\n{% endif %}{% endfor %}";

/// Like Mistral: strict turns, no system role.
const INSTRUCT: &str = "{{ bos_token }}{% for m in messages %}
    {%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Roles must alternate user/assistant/user/assistant') }}
    {%- endif %}
    {%- if m['role'] == 'user' %}{{ '[INST] ' + m['content'].strip() + ' [/INST]' }}
    {%- else %}{{ ' ' + m['content'] + eos_token }}{% endif %}
{%- endfor %}";

/// Like Gemma: the assistant is called `model`, a system message is refused.
const TURNS: &str = "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}\
    {% endif %}{% for m in messages %}{% set role = 'model' if m.role == 'assistant' else m.role %}\
    <start_of_turn>{{ role }}\n{{ m.content | trim }}<end_of_turn>\n{% endfor %}\
    {% if add_generation_prompt %}<start_of_turn>model\n{% endif %}";

fn conversation() -> Vec<Message> {
    vec![
        Message::new("system", "Be brief."),
        Message::new("user", " Hi & <you>?"),
        Message::new("assistant", "Hello."),
        Message::new("user", "Bye."),
    ]
}

fn rendered(source: &str, messages: &[Message]) -> String {
    ChatTemplate::new(source, "<s>", "</s>").unwrap().render(messages).unwrap()
}

fn failure_of(source: &str, messages: &[Message]) -> String {
    ChatTemplate::new(source, "<s>", "</s>").and_then(|template| template.render(messages)).unwrap_err().to_string()
}

#[test]
fn chatml() {
    assert_eq!(
        rendered(CHATML, &conversation()),
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi & <you>?<|im_end|>\n\
         <|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nBye.<|im_end|>\n<|im_start|>assistant\n"
    );
}

#[test]
fn headers_like_llama_3() {
    assert_eq!(
        rendered(HEADERS, &conversation()[..2]),
        "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>\
         <|start_header_id|>user<|end_header_id|>\n\nHi & <you>?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    );
}

#[test]
fn a_template_that_leaves_the_system_message_out_gets_it_with_the_first_user_message() {
    assert_eq!(
        rendered(PHI, &conversation()),
        "<s><|user|>\nBe brief.\n\n Hi & <you>?<|end|>\n<|assistant|>\nHello.<|end|>\n<|user|>\nBye.<|end|>\n<|assistant|>\n"
    );
}

#[test]
fn a_template_that_refuses_the_system_role_gets_it_with_the_first_user_message() {
    assert_eq!(
        rendered(INSTRUCT, &conversation()),
        "<s>[INST] Be brief.\n\n Hi & <you>? [/INST] Hello.</s>[INST] Bye. [/INST]"
    );
    assert_eq!(
        rendered(TURNS, &conversation()[..2]),
        "<s><start_of_turn>user\nBe brief.\n\n Hi & <you>?<end_of_turn>\n<start_of_turn>model\n"
    );
    assert_eq!(
        rendered(TURNS, &conversation()[..1]),
        "<s><start_of_turn>user\nBe brief.<end_of_turn>\n<start_of_turn>model\n"
    );
}

#[test]
fn what_a_template_refuses_is_said_with_its_own_words() {
    let twice = [Message::new("user", "a"), Message::new("user", "b")];
    let error = failure_of(INSTRUCT, &twice);
    assert!(error.contains("Roles must alternate") && error.contains("in turn"), "{error}");
}

#[test]
fn json_is_spaced_as_in_python_and_not_escaped_for_html() {
    let source =
        "{{ {'a': [1, 'x<&\\'é'], 'b': {}, 'c': none, 'd': true} | tojson }} {{ [1, {'k': 2.5}] | tojson(indent=2) }}";
    assert_eq!(
        rendered(source, &conversation()),
        "{\"a\": [1, \"x<&'é\"], \"b\": {}, \"c\": null, \"d\": true} [\n  1,\n  {\n    \"k\": 2.5\n  }\n]"
    );
}

#[test]
fn block_tags_leave_no_blank_lines() {
    assert_eq!(rendered("{% if true %}\n  {% set x = 1 %}\nx{{ x }}\n{% endif %}\n", &conversation()), "x1\n");
}

#[test]
fn marks_for_training_have_no_effect() {
    assert_eq!(rendered("a {%- generation -%} b {% endgeneration %}c", &[]), "ab c");
    assert!(failure_of("a {% generation %} b {% endgeneration", &[]).contains("compiling"));
}

#[test]
fn the_date_is_not_given() {
    assert_eq!(rendered("{{ strftime_now is defined }}", &[]), "False");
    let error = failure_of("{{ strftime_now('%d') }}", &conversation());
    assert!(error.contains("today's date"), "{error}");
}

#[test]
fn a_broken_template_is_an_error_that_names_the_line() {
    let error = failure_of("fine\n{% if %}", &conversation());
    assert!(error.contains("tokenizer.chat_template") && error.contains("line 2"), "{error}");
    let error = failure_of(&"x".repeat(MAX_SOURCE_BYTES + 1), &conversation());
    assert!(error.contains("bytes long"), "{error}");
}

#[test]
fn hostile_templates_end_in_an_error() {
    let deep = "{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% for j in range(9999) %}{% set ns.x = [ns.x] %}\
        {% endfor %}{% endfor %}";
    let nested = format!(
        "{{% set ns = namespace(x=[]) %}}{{% for i in range(9000) %}}{{% set ns.x = [ns.x] %}}{{% endfor %}}{}",
        "{{ ns.x | tojson }}"
    );
    let printed = nested.replace(" | tojson", "");
    let cases: [(&str, &str); 6] = [
        ("{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}", "more work"),
        ("{{ 'x' * 100000000 }}", "more work"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
        ("{% include 'secret' %}", "not supported"),
        (deep, "more work"),
        (&nested, "nested too deep"),
    ];
    for (source, wanted) in cases {
        let error = failure_of(source, &conversation());
        assert!(error.contains(wanted), "{source}: {error}");
    }
    assert!(ChatTemplate::new(&printed, "", "").unwrap().render(&[]).is_ok());
    let long = format!("{{% for i in range(3000) %}}{}{{% endfor %}}", "x".repeat(1000));
    assert!(failure_of(&long, &[]).contains("far longer"), "{}", failure_of(&long, &[]));
    for nest in ["(", "[", "-", "not ", "~", "x.", "x|", "{%if x%}"] {
        let source = format!("{{{{ {}", nest.repeat((MAX_SOURCE_BYTES - 10) / nest.len()));
        let error = failure_of(&source, &[]);
        assert!(error.contains("compiling"), "{nest}: {error}");
    }
    let valid = format!("{{{{ {}1 }}}}", "-".repeat(MAX_SOURCE_BYTES - 10));
    let _ = ChatTemplate::new(&valid, "", "").and_then(|template| template.render(&[]));
}

/// Each would take gigabytes at once, where no work is counted.
#[test]
fn a_template_that_formats_as_python_does_is_refused_before_it_takes_memory() {
    for source in [
        "{{ '{:9999999999}'.format('a') }}",
        "{{ '{:3000000000}'.format('a') }}",
        "{{ '{:.2000000000f}'.format(1.5) }}",
        "{{ '{:{}}'.format('a', 9999999999) }}",
        "{% set f = '{0}' * 1000 %}{{ f.format('x' * 1000) }}",
    ] {
        let error = failure_of(source, &conversation());
        assert!(error.contains("the method format of texts is not offered"), "{source}: {error}");
    }
}

#[test]
fn a_long_conversation_fits_the_budget() {
    let mut messages = vec![Message::new("system", "s")];
    for turn in 0..500 {
        messages.push(Message::new("user", format!("{turn} ").repeat(400)));
        messages.push(Message::new("assistant", "ok ".repeat(400)));
    }
    for source in [CHATML, HEADERS, PHI, INSTRUCT, TURNS] {
        assert!(rendered(source, &messages).len() > 1_000_000);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    #[test]
    fn no_source_makes_it_panic(source in r"(\{%|%\}|\{\{|\}\}| |if|for|in|messages|\|trim|generation|'|\[0\]|x){0,12}") {
        if let Ok(template) = ChatTemplate::new(&source, "<s>", "") {
            let _ = template.render(&conversation());
        }
    }
}
