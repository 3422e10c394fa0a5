//! Embeddings and rerank.

use super::*;

use meridian_core::translate::{joined, response};

use ClientDialect::{Embeddings, Rerank};
use ProviderDialect::{
    BedrockRerank, CohereEmbed, CohereRerank, GeminiEmbed, TitanEmbed, VertexEmbed, VllmRerank,
};

fn wanted() -> Value {
    json!({"model": "m", "input": ["hello", "world"], "dimensions": 256})
}

#[test]
fn requests_for_embeddings_are_each_providers_own() {
    let body = |provider, model| {
        let request = told(pair(Embeddings, provider), model, &wanted()).unwrap();
        (json_of(&request.body), request.more)
    };
    let cohere = json!({"model": "embed-v4.0", "texts": ["hello", "world"],
        "input_type": "search_document", "embedding_types": ["float"], "output_dimension": 256});
    assert_eq!(body(CohereEmbed, "embed-v4.0").0, cohere);
    let (titan, more) = body(TitanEmbed, "amazon.titan-embed-text-v2:0");
    assert_eq!(titan, json!({"inputText": "hello", "dimensions": 256}));
    assert_eq!(
        json_of(&more[0]),
        json!({"inputText": "world", "dimensions": 256})
    );
    let vertex = json!({"instances": [{"content": "hello"}, {"content": "world"}],
        "parameters": {"outputDimensionality": 256}});
    assert_eq!(body(VertexEmbed, "text-embedding-005").0, vertex);
    let one = |text: &str| {
        json!({"model": "models/gemini-embedding-001", "outputDimensionality": 256,
            "content": {"parts": [{"text": text}]}})
    };
    let gemini = json!({"requests": [one("hello"), one("world")]});
    assert_eq!(body(GeminiEmbed, "gemini-embedding-001").0, gemini);
}

#[test]
fn many_texts_are_sent_in_the_providers_portions() {
    let texts: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    let body = json!({"model": "m", "input": texts});
    let request = told(pair(Embeddings, CohereEmbed), "embed-v4.0", &body).unwrap();
    let portion = |bytes: &[u8]| json_of(bytes)["texts"].as_array().unwrap().len();
    assert_eq!(portion(&request.body), 96);
    assert_eq!(
        request
            .more
            .iter()
            .map(|it| portion(it))
            .collect::<Vec<_>>(),
        [96, 8]
    );
    let titan = told(pair(Embeddings, TitanEmbed), "titan", &body).unwrap();
    assert_eq!(titan.more.len(), 199);
}

#[test]
fn tokens_and_nothing_are_refused_by_name() {
    for input in [json!([[1, 2]]), json!([]), json!({"a": 1})] {
        let body = json!({"model": "m", "input": input});
        let refused = told(pair(Embeddings, TitanEmbed), "titan", &body).unwrap_err();
        assert_eq!(refused.field, "input");
    }
    let body = json!({"model": "m", "input": "x", "encoding_format": "int8"});
    let refused = told(pair(Embeddings, TitanEmbed), "titan", &body).unwrap_err();
    assert_eq!(refused.field, "encoding_format");
}

#[test]
fn embeddings_come_back_in_openais_form() {
    let told = |provider, bodies: &[&[u8]], base64| {
        let mut reply = reply();
        reply.memo.base64 = base64;
        let answer = joined(pair(Embeddings, provider), bodies, &reply).unwrap();
        (
            json_of(&answer.body),
            answer.usage.map(|usage| usage.prompt),
        )
    };
    let recorded = fixture("cohere/vercel_cohere-embedding.json");
    let (body, tokens) = told(CohereEmbed, &[&recorded], false);
    assert_eq!(body["data"][1]["embedding"][0], -0.04660034);
    assert_eq!(
        (body["usage"]["total_tokens"].as_u64(), tokens),
        (Some(10), Some(10))
    );
    let recorded = fixture("gemini/agw_vertex_predict_embeddings.json");
    let (body, tokens) = told(VertexEmbed, &[&recorded], false);
    assert_eq!(
        (body["data"].as_array().unwrap().len(), tokens),
        (2, Some(9))
    );
    let titan = br#"{"embedding":[1.5,-2],"inputTextTokenCount":3}"#;
    let (body, tokens) = told(TitanEmbed, &[titan, titan], true);
    assert_eq!(body["data"][1]["embedding"], "AADAPwAAAMA=");
    assert_eq!(
        (body["data"][1]["index"].as_u64(), tokens),
        (Some(1), Some(6))
    );
    let gemini = br#"{"embeddings":[{"values":[0.5]}]}"#;
    let (body, tokens) = told(GeminiEmbed, &[gemini], false);
    assert_eq!(body["data"][0]["embedding"], json!([0.5]));
    assert_eq!(tokens, None);
}

#[test]
fn rerank_is_told_and_answered() {
    let body = json!({"model": "m", "query": "q", "top_n": 1,
        "documents": ["a", {"text": "b"}, {"c": 1}], "return_documents": true});
    let request = told(pair(Rerank, CohereRerank), "rerank-v3.5", &body).unwrap();
    let expected = json!({"model": "rerank-v3.5", "query": "q", "top_n": 1,
        "documents": ["a", "b", "{\"c\":1}"]});
    assert_eq!(json_of(&request.body), expected);
    assert_eq!(lost(&request), ["~documents"]);
    let vllm = told(pair(Rerank, VllmRerank), "rerank-v3.5", &body).unwrap();
    assert_eq!(json_of(&vllm.body), expected);
    let arn = "arn:aws:bedrock:us-east-1::foundation-model/cohere.rerank-v3-5:0";
    let bedrock = told(pair(Rerank, BedrockRerank), arn, &body).unwrap();
    let sent = json_of(&bedrock.body);
    let source = &sent["sources"][2]["inlineDocumentSource"];
    assert_eq!(*source, json!({"type": "JSON", "jsonDocument": {"c": 1}}));
    let settings = &sent["rerankingConfiguration"]["bedrockRerankingConfiguration"];
    assert_eq!(settings["modelConfiguration"]["modelArn"], arn);
    let mut reply = reply();
    reply.memo = request.memo;
    let recorded = fixture("cohere/vercel_cohere_rerank.json");
    let answer = response(pair(Rerank, CohereRerank), &recorded, reply.clone()).unwrap();
    let told = json_of(&answer.body);
    assert_eq!(told["results"][0]["document"], json!({"text": "b"}));
    assert_eq!(answer.usage.unwrap().units.queries, 1);
    let amazon = br#"{"results":[{"index":2,"relevanceScore":0.5}]}"#;
    let answer = response(pair(Rerank, BedrockRerank), amazon, reply).unwrap();
    assert_eq!(answer.usage.unwrap().units.queries, 1);
    assert_eq!(json_of(&answer.body)["results"][0]["relevance_score"], 0.5);
}
