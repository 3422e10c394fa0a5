//! Estimates against real counts.

use super::*;

/// Texts with their exact token counts in the vocabularies `cl100k_base` and `o200k_base`.
const COUNTED: &[(u64, u64, &str)] = &[
    (
        18,
        18,
        "Hello, how are you doing today? I hope everything is going well with your project.",
    ),
    (
        30,
        30,
        "The quick brown fox jumps over the lazy dog. Pack my box with five dozen liquor jugs; how vexingly quick daft zebras jump!",
    ),
    (
        48,
        47,
        "Tides are caused by the gravitational pull of the Moon and, to a lesser extent, the Sun on the Earth's oceans. As the Earth rotates, different areas of the planet face the Moon, and the water bulges towards it.",
    ),
    (
        54,
        44,
        "Die Gezeiten entstehen durch die Anziehungskraft des Mondes und der Sonne auf die Weltmeere; Fährschifffahrtsgesellschaften veröffentlichen Gezeitenkalender für größere Küstenabschnitte.",
    ),
    (
        51,
        43,
        "Les marées sont causées par l'attraction gravitationnelle de la Lune et, dans une moindre mesure, du Soleil. À l'été, les côtes françaises connaissent des marées très élevées.",
    ),
    (
        35,
        33,
        "Las mareas están causadas por la atracción gravitatoria de la Luna. ¿Cuándo sube el nivel del mar? Todos los días, dos veces.",
    ),
    (
        51,
        38,
        "Gelgitler, Ay'ın ve Güneş'in çekim kuvvetinin etkisiyle oluşur; deniz seviyesi günde iki kez yükselir ve alçalır.",
    ),
    (
        48,
        24,
        "Thủy triều là hiện tượng nước biển lên xuống trong một chu kỳ thời gian phụ thuộc biến chuyển thiên văn.",
    ),
    (
        49,
        33,
        "Приливы и отливы вызваны гравитационным притяжением Луны и Солнца, действующим на океаны Земли.",
    ),
    (
        79,
        35,
        "Οι παλίρροιες προκαλούνται από τη βαρυτική έλξη της Σελήνης και του Ήλιου στους ωκεανούς.",
    ),
    (
        62,
        46,
        "潮汐是由月球和太阳的引力作用于地球海洋而产生的周期性涨落现象。请用简单的语言解释一下它的原理，并举出三个例子。",
    ),
    (
        59,
        44,
        "潮の満ち引きは、月と太陽の引力が地球の海に作用することによって起こります。簡単に説明してください。カタカナも使います。",
    ),
    (
        46,
        33,
        "조석은 달과 태양의 중력이 지구의 바다에 작용하여 발생하는 주기적인 현상입니다. 쉽게 설명해 주세요.",
    ),
    (
        59,
        25,
        "المد والجزر ظاهرة طبيعية تحدث بسبب جاذبية القمر والشمس على مياه المحيطات في الأرض.",
    ),
    (
        75,
        27,
        "גאות ושפל נגרמים על ידי כוח המשיכה של הירח והשמש על האוקיינוסים של כדור הארץ.",
    ),
    (
        95,
        33,
        "ज्वार-भाटा चंद्रमा और सूर्य के गुरुत्वाकर्षण बल के कारण पृथ्वी के महासागरों में उत्पन्न होता है।",
    ),
    (
        80,
        33,
        "น้ำขึ้นน้ำลงเกิดจากแรงโน้มถ่วงของดวงจันทร์และดวงอาทิตย์ที่กระทำต่อมหาสมุทรของโลก",
    ),
    (30, 21, "😀😃😄🎉🚀🔥💡👩\u{200d}💻🇩🇪"),
    (
        21,
        18,
        "Done! 🎉 All 12 tests pass ✅ and the build is green 🚀.",
    ),
    (
        53,
        54,
        "fn main() {\n    let mut total = 0;\n    for (index, value) in values.iter().enumerate() {\n        if value % 2 == 0 {\n            total += index * value;\n        }\n    }\n    println!(\"{total}\");\n}\n",
    ),
    (
        67,
        67,
        "def quicksort(items):\n    if len(items) <= 1:\n        return items\n    pivot = items[len(items) // 2]\n    left = [x for x in items if x < pivot]\n    return quicksort(left) + [pivot] + quicksort([x for x in items if x > pivot])\n",
    ),
    (
        41,
        45,
        "const getUserById = async (userId) => {\n  const response = await fetch(`/api/users/${userId}`);\n  if (!response.ok) throw new HTTPError(response.status);\n  return response.json();\n};\n",
    ),
    (
        36,
        37,
        "for(;;){if(!(x=f(a[i++])))break;y^=x<<3|x>>5;}return(y&0xff)==0?-1:~y;",
    ),
    (
        32,
        32,
        "{\"name\":\"get_weather\",\"arguments\":{\"city\":\"Berlin\",\"unit\":\"celsius\",\"days\":7,\"coords\":[52.52,13.405]}}",
    ),
    (
        48,
        48,
        "{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"system\",\"content\":\"You are a helpful assistant.\"},{\"role\":\"user\",\"content\":\"How do tides work?\"}],\"stream\":true,\"temperature\":0.7}",
    ),
    (
        54,
        54,
        "SELECT u.id, u.email, COUNT(o.id) AS orders FROM users u LEFT JOIN orders o ON o.user_id = u.id WHERE u.created_at >= '2024-01-01' GROUP BY u.id HAVING COUNT(o.id) > 3;",
    ),
    (
        46,
        46,
        "Call +49 30 1234567 before 2026-11-28 18:47:03; invoice 20481-77 is over 1,234,567.89 EUR (19% VAT).",
    ),
    (
        19,
        19,
        "3.14159265358979323846264338327950288419716939937510",
    ),
    (18, 18, "550e8400-e29b-41d4-a716-446655440000"),
    (
        35,
        35,
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ),
    (
        54,
        53,
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
    ),
    (
        24,
        24,
        "https://example.com/api/v2/users/42/orders?status=open&page=3&sort=-created_at#top",
    ),
    (
        36,
        36,
        "| Name | Qty | Price |\n|------|-----|-------|\n| Apple | 3 | $1.20 |\n| Pear | 12 | $0.85 |\n",
    ),
    (
        34,
        34,
        "## Steps\n\n1. **Install** the package\n2. Run `make test`\n3. *Profit*\n\n- [ ] todo\n- [x] done\n",
    ),
    (
        25,
        25,
        "NOTE: THE SYSTEM WILL GO DOWN FOR MAINTENANCE AT MIDNIGHT. PLEASE SAVE YOUR WORK AND LOG OUT.",
    ),
    (
        57,
        55,
        "∀x∈ℝ: x²≥0 ⇒ √(x²)=|x|; ∑ᵢ₌₁ⁿ i = n(n+1)/2 — “quoted” … 25 °C ≈ 77 °F",
    ),
];

#[test]
fn an_estimate_is_rarely_under_and_never_far_over_the_real_count() {
    let (mut sum, mut estimated) = (0, 0);
    for (older, newer, text) in COUNTED {
        let estimate = estimate_tokens(text.as_bytes());
        let shown = format!("{estimate} for {older} and {newer}: {text}");
        // The vocabulary of today's models; hashes and base64 come closest to the line.
        assert!(estimate * 100 >= newer * 85, "{shown}");
        // The older one cuts most scripts finer.
        assert!(estimate * 100 >= older * 70, "{shown}");
        assert!(estimate * 2 <= newer * 5, "{shown}");
        sum += newer;
        estimated += estimate;
    }
    assert!(estimated >= sum, "{estimated} of {sum}");
    assert!(estimated * 2 <= sum * 3, "{estimated} of {sum}");
}

#[test]
fn what_four_bytes_per_token_billed_too_low_is_not_any_more() {
    let under = |(older, newer, text): &&(u64, u64, &str)| {
        (text.len() as u64).div_ceil(4) < *older.min(newer)
    };
    let affected: Vec<_> = COUNTED.iter().filter(under).collect();
    assert!(affected.len() > 12, "{} texts", affected.len());
    for (_, newer, text) in affected {
        assert!(
            estimate_tokens(text.as_bytes()) * 100 >= newer * 85,
            "{text}"
        );
    }
}

#[test]
fn pieces_add_up_wherever_they_are_cut() {
    for (_, _, text) in COUNTED {
        let whole = text_weight(text.as_bytes());
        for cut in 0..=text.len() {
            let (head, tail) = text.as_bytes().split_at(cut);
            assert_eq!(
                text_weight(head) + text_weight(tail),
                whole,
                "{cut}: {text}"
            );
        }
    }
}

#[test]
fn a_unit_of_utf_16_weighs_what_its_utf_8_does() {
    for (_, _, text) in COUNTED {
        let units: u64 = text.encode_utf16().map(unit_weight).sum();
        assert_eq!(units, text_weight(text.as_bytes()), "{text}");
    }
}

#[test]
fn nothing_has_no_tokens_and_anything_has_one() {
    assert_eq!(estimate_tokens(b""), 0);
    assert_eq!(estimate_tokens(b" "), 1);
    assert_eq!(estimate_tokens(b"\xff\xfe\x00"), 7);
}
