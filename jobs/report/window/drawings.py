"""A product's kind as a silhouette to draw, by words of its category, else of its name; in a box of 100 by 125."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Silhouette:
    """What to draw of one kind of product, as SVG path data."""

    body: str
    """Filled with the product's colour."""
    seams: str = ""
    """Lines upon it."""
    straps: str = ""
    """Lines beside it, in its colour."""


SILHOUETTES = {
    "dress": Silhouette(
        "M38 14Q39 27 50 28Q61 27 62 14L69 16Q67 31 70 40Q67 52 64 58Q76 84 82 108Q50 118 18 108Q24 84 36 58"
        "Q33 52 30 40Q33 31 31 16Z",
        "M36 58Q50 62 64 58M44 62Q40 88 36 112M56 62Q60 88 64 112",
    ),
    "skirt": Silhouette(
        "M34 26H66L68 36Q78 70 84 100Q50 110 16 100Q22 70 32 36Z",
        "M33 36H67M44 37Q40 70 38 104M56 37Q60 70 62 104",
    ),
    "top": Silhouette(
        "M37 24Q50 38 63 24L80 31L90 56L76 62L72 53V101H28V53L24 62L10 56L20 31Z",
        "M37 24Q50 38 63 24M28 95H72M28 53L30 44M72 53L70 44",
    ),
    "shirt": Silhouette(
        "M38 20L50 28L62 20L80 28L92 84L80 87L73 54V106H27V54L20 87L8 84L20 28Z",
        "M38 20L42 34L50 28L58 34L62 20M50 28V106M53 46h.1M53 60h.1M53 74h.1M53 88h.1M27 54L29 44M73 54L71 44",
    ),
    "jumper": Silhouette(
        "M38 22Q50 30 62 22L80 30L92 86L80 90L73 58V102H27V58L20 90L8 86L20 30Z",
        "M36 23Q50 36 64 23M27 95H73M9 80L21 84M91 80L79 84M27 58L29 46M73 58L71 46",
    ),
    "hoodie": Silhouette(
        "M34 30Q34 12 50 12Q66 12 66 30L82 36L92 88L80 92L73 62V106H27V62L20 92L8 88L18 36Z",
        "M38 30Q50 46 62 30Q60 20 50 20Q40 20 38 30M45 38V54M55 38V54M36 84L40 72H60L64 84V94H36ZM27 99H73",
    ),
    "coat": Silhouette(
        "M38 14L50 22L62 14L79 22L90 82L79 85L73 54L78 114H22L27 54L21 85L10 82L21 22Z",
        "M38 14L36 32L50 50L64 32L62 14M50 50V114M31 78L42 76M58 76L69 78M55 62h.1M55 78h.1M55 94h.1",
    ),
    "trousers": Silhouette(
        "M30 14H70L76 112H57L50 46L43 112H24Z",
        "M30 23H70M50 23V46M33 23L29 34M67 23L71 34",
    ),
    "shorts": Silhouette(
        "M28 34H72L80 88L55 92L50 64L45 92L20 88Z",
        "M28 43H72M50 43V64M22 82L45 86M55 86L78 82",
    ),
    "shoe": Silhouette(
        "M12 56L32 50Q36 60 46 60Q58 74 80 78Q91 80 91 92H10Q8 74 12 56Z",
        "M10 84H90M46 60L40 66M52 65L46 71M58 69L52 75M12 66Q22 70 32 62",
    ),
    "boot": Silhouette(
        "M28 18H56L58 72Q78 78 88 86Q92 92 90 104H28Q24 60 28 18Z",
        "M28 96H91M28 28H56M57 60L46 64M57 50L46 54M57 40L46 44",
    ),
    "sandal": Silhouette(
        "M8 84Q30 76 52 82Q74 88 92 84Q94 94 84 96H16Q6 96 8 84Z",
        "",
        "M20 79Q30 48 56 83M20 79Q18 52 12 54M66 85Q74 60 88 84",
    ),
    "bag": Silhouette(
        "M18 56H82L88 106Q50 112 12 106Z",
        "M16 70Q50 76 84 70M34 62V66M66 62V66",
        "M34 62V42Q34 24 50 24Q66 24 66 42V62",
    ),
    "backpack": Silhouette(
        "M28 40Q28 20 50 20Q72 20 72 40Q80 60 76 108H24Q20 60 28 40Z",
        "M32 70H68V96H32ZM32 79H68M30 46Q50 52 70 46",
        "M42 20Q42 10 50 10Q58 10 58 20",
    ),
    "belt": Silhouette(
        "M6 56H74V72H6ZM68 50H88V78H68ZM75 57V71H81V57ZM88 58H95V70H88Z",
        "M12 60H62M12 68H62M50 64h.1M57 64h.1M78 64H88",
    ),
    "jewellery": Silhouette(
        "M50 84L60 96L50 110L40 96Z",
        "M40 96H60",
        "M22 20Q22 66 50 84Q78 66 78 20",
    ),
    "watch": Silhouette(
        "M39 12H61L63 40Q74 50 74 62Q74 74 63 84L61 112H39L37 84Q26 74 26 62Q26 50 37 40Z",
        "M50 44A18 18 0 1 0 50 80A18 18 0 1 0 50 44M50 52V62L57 67",
    ),
    "scarf": Silhouette(
        "M30 24Q50 12 70 24Q78 36 66 44L72 104H54L50 52L38 98L20 92L34 44Q22 36 30 24Z",
        "M34 44Q50 52 66 44M34 28Q50 38 66 28M56 96L57 104M63 96L64 104M26 88L24 93M33 90L31 96",
    ),
    "gloves": Silhouette(
        "M30 110L26 72Q10 58 14 50Q20 48 29 58L27 26Q32 20 36 26L39 50L40 20Q45 14 49 20L50 50L54 22Q59 18 62 24"
        "L60 54L66 34Q72 32 73 38L66 74L64 110Z",
        "M28 94H66M29 100H65",
    ),
    "hat": Silhouette(
        "M43 24A7 7 0 1 1 57 24A7 7 0 1 1 43 24ZM22 78Q20 36 50 32Q80 36 78 78ZM16 76H84V94Q50 100 16 94Z",
        "M16 77Q50 83 84 77M50 32Q46 56 48 78M34 38Q30 56 32 78M66 38Q70 56 68 78",
    ),
    "socks": Silhouette(
        "M36 16H62V66Q64 74 76 82Q88 92 78 102Q70 110 56 102L38 90Q32 86 33 76Z",
        "M35 26H62M33 76Q44 78 44 92M68 78Q60 88 66 106",
    ),
    "underwear": Silhouette(
        "M18 44H82L80 62Q62 70 58 90H42Q38 70 20 62Z", "M18 52H82M40 54Q44 80 46 90M60 54Q56 80 54 90"),
    "romper": Silhouette(
        "M38 20Q50 32 62 20L78 27L86 48L74 54L70 48L72 76L68 104L53 106L50 90L47 106L32 104L28 76L30 48L26 54L14 48"
        "L22 27Z",
        "M38 20Q50 32 62 20M50 30V86M30 98L47 100M53 100L70 98",
    ),
    "bib": Silhouette(
        "M34 18Q26 26 28 38Q30 54 50 54Q70 54 72 38Q74 26 66 18Q80 22 82 40Q84 60 78 84Q70 102 50 102Q30 102 22 84"
        "Q16 60 18 40Q20 22 34 18Z",
        "M34 78Q50 88 66 78",
    ),
    "tie": Silhouette(
        "M42 14H58L61 28L54 36L64 92L50 112L36 92L46 36L39 28Z", "M39 28L54 36M46 36H54M42 62L57 54M39 78L60 68"
    ),
    "swimsuit": Silhouette(
        "M34 16L38 36Q50 46 62 36L66 16L72 17Q72 40 68 54Q74 70 74 84Q60 90 55 106H45Q40 90 26 84Q26 70 32 54"
        "Q28 40 28 17Z",
        "M32 54Q50 60 68 54",
    ),
    "towel": Silhouette("M26 16H74V110H26Z", "M26 28H74M26 34H74M26 92H74M26 98H74"),
    "sunglasses": Silhouette(
        "M10 56H44Q46 62 45 68Q42 84 28 84Q13 84 11 68ZM56 56H90L89 68Q87 84 72 84Q58 84 55 68Q54 62 56 56Z",
        "",
        "M44 60Q50 54 56 60M10 57L3 52M90 57L97 52",
    ),
    "wallet": Silhouette("M12 42H84Q88 42 88 46V94Q88 98 84 98H16Q12 98 12 94Z", "M12 52H88M66 66H88V80H66ZM72 73h.1"),
    "cup": Silhouette("M20 44H70V84Q70 100 54 100H36Q20 100 20 84Z", "M20 54H70", "M70 54Q88 52 88 66Q88 82 70 80"),
    "box": Silhouette("M14 50L50 36L86 50V94L50 110L14 94Z", "M14 50L50 65L86 50M50 65V110M32 43L68 58"),
}  # fmt: skip
"""Kind -> its drawing."""

WORDS = {
    "dress": "dress dresses gown gowns",
    "skirt": "skirt skirts kilt",
    "top": "top tops tshirt tshirts tee tees vest vests blouse blouses bodysuit camisole polo polos",
    "shirt": "shirt shirts overshirt",
    "jumper": "jumper jumpers knitwear sweater sweaters cardigan cardigans pullover pullovers sweatshirt knit",
    "hoodie": "hoodie hoodies fleece",
    "coat": "coat coats jacket jackets blazer blazers parka anorak outerwear raincoat gilet suit suits",
    "trousers": "trousers jeans joggers leggings chinos pants tights denim pyjamas pyjama",
    "shorts": "shorts",
    "shoe": "shoe shoes trainer trainers sneaker sneakers loafer loafers slipper slippers pumps heels footwear",
    "boot": "boot boots wellies",
    "sandal": "sandal sandals flipflops mules",
    "bag": "bag bags handbag handbags tote clutch shopper",
    "backpack": "backpack backpacks rucksack rucksacks",
    "belt": "belt belts",
    "jewellery": "jewellery jewelry necklace necklaces pendant bracelet bracelets earrings ring rings charm",
    "watch": "watch watches",
    "scarf": "scarf scarves shawl",
    "gloves": "glove gloves mittens",
    "hat": "hat hats cap caps beanie beanies",
    "socks": "sock socks hosiery stocking stockings",
    "underwear": "underwear briefs boxers lingerie knickers",
    "romper": "romper rompers sleepsuit sleepsuits jumpsuit jumpsuits playsuit playsuits babygrow",
    "bib": "bib bibs apron",
    "tie": "tie ties",
    "swimsuit": "swimwear swimsuit swimsuits bikini bikinis",
    "towel": "towel towels",
    "sunglasses": "sunglasses glasses eyewear",
    "wallet": "wallet wallets purse purses",
    "cup": "mug mugs cup cups teacup",
    "box": "box boxes",
}
"""Kind -> the words that name it."""
KIND = {word: kind for kind, words in WORDS.items() for word in words.split()}


def silhouette(category: str, name: str) -> str:
    """The kind to draw; empty where none is known.

    By the last known word of the category; without one by the last word of the name up to a comma, since the words
    before it say what it is for: a coat rack is no coat.
    """
    for word in [*reversed(_words(category)), *_words(name.partition(",")[0])[-1:]]:
        if word in KIND:
            return KIND[word]
    return ""


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", re.sub(r"[-’']", "", text.lower()))
