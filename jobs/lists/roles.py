"""Tells what products are in an outfit from the words of their categories, and which colours go together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from models.assembly.outfits import ROLES

NO_ROLE = "none"
WORDS = {
    "top": "top tops tshirt tshirts tee tees shirt shirts blouse blouses vest vests camisole camisoles polo polos "
    "bodysuit bodysuits tunic tunics hoodie hoodies sweatshirt sweatshirts jumper jumpers sweater sweaters pullover "
    "pullovers knitwear knit knits cardigan cardigans waistcoat waistcoats",
    "bottom": "jeans trouser trousers pants chinos joggers leggings shorts skirt skirts culottes slacks sweatpants "
    "tights",
    "dress": "dress dresses gown gowns jumpsuit jumpsuits playsuit playsuits dungarees romper rompers overalls",
    "shoes": "shoe shoes trainer trainers sneaker sneakers boot boots sandal sandals loafer loafers heel heels pump "
    "pumps flats brogues mules espadrilles ballerinas clogs wellies footwear flipflops",
    "outer layer": "coat coats jacket jackets blazer blazers parka parkas trench anorak anoraks gilet gilets cape "
    "capes poncho ponchos raincoat raincoats overcoat overcoats outerwear bomber fleece fleeces",
    "bag": "bag bags handbag handbags backpack backpacks rucksack rucksacks tote totes clutch clutches satchel "
    "satchels crossbody holdall holdalls",
    "accessory": "accessory accessories belt belts scarf scarves hat hats cap caps beanie beanies glove gloves mitten "
    "mittens sock socks tie ties jewellery jewelry necklace necklaces bracelet bracelets earring earrings ring rings "
    "watch watches sunglasses headband headbands",
    NO_ROLE: "underwear lingerie bra bras briefs boxers knickers pyjama pyjamas pajamas nightwear sleepwear sleepsuit "
    "sleepsuits swimwear swimsuit swimsuits swim bikini bikinis towel towels slipper slippers bedding home beauty",
}
"""Role -> words of categories; a category with a word of NO_ROLE has none."""
ROLE_OF = {word: role for role, words in WORDS.items() for word in words.split()}
COLOURS = {
    "": "black white grey gray beige navy cream brown tan camel ivory ecru stone charcoal khaki denim nude sand taupe "
    "silver gold multi",
    "red": "red burgundy bordeaux wine maroon crimson rust terracotta coral",
    "pink": "pink rose blush fuchsia magenta salmon peach",
    "orange": "orange apricot amber copper",
    "yellow": "yellow mustard lemon",
    "green": "green olive sage mint emerald lime",
    "blue": "blue cobalt indigo teal turquoise aqua petrol",
    "purple": "purple lilac lavender violet plum",
}
"""Family -> words of colours; those of the first family go with all."""
FAMILY_OF = {word: family for family, words in enumerate(COLOURS.values()) for word in words.split()}


def role_of(category: str, given: Mapping[str, str]) -> int:
    """The place of a category's role in ROLES, -1 for none: as `given` for its name, else by its last known word."""
    named = given.get(category)
    if named is None:
        known = [ROLE_OF[word] for word in _words(category) if word in ROLE_OF]
        named = NO_ROLE if NO_ROLE in known or not known else known[-1]
    return ROLES.index(named) if named != NO_ROLE else -1


def colour_families(colours: Sequence[str | None]) -> npt.NDArray[np.int16]:
    """[n], 0 for a colour that goes with all, another number for its family; -1: not known."""
    known = {
        colour: next((FAMILY_OF[word] for word in reversed(_words(colour)) if word in FAMILY_OF), -1)
        for colour in {colour for colour in colours if colour}
    }
    return np.array([known.get(colour or "", -1) for colour in colours], np.int16)


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", re.sub(r"[-’']", "", text.casefold()))
