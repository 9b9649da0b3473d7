"""The kinds of products that the sample shop sells."""

from workers.samples.features import Feature, Kind, choice, flag, quantity

COLOUR = choice(
    "colour",
    "sage green | midnight blue | brick red | cream white | charcoal | sunflower yellow "
    "| dusty pink | teal",
    nouns="a finish in {} | a {} finish",
    verbs="comes in {} | is finished in {}",
)
WARRANTY = quantity(
    "warranty",
    ("2", "10", "1"),
    "years",
    nouns="a warranty of {} | {} of warranty",
    verbs="is covered for {} | has a warranty of {}",
)


def weight(low: str, high: str, step: str, unit: str) -> Feature:
    return quantity(
        "weight",
        (low, high, step),
        unit,
        nouns="a weight of {} | a total weight of {}",
        verbs="weighs {} | weighs in at {}",
    )


def price(low: str, high: str, step: str) -> Feature:
    return quantity(
        "price",
        (low, high, step),
        "euros",
        nouns="a price of {} | a price tag of {}",
        verbs="costs {} | sells for {}",
    )


KETTLE = Kind(
    "kettle",
    (
        quantity(
            "capacity",
            ("0.8", "2.0", "0.1"),
            "litres",
            nouns="a capacity of {}",
            verbs="holds {}",
        ),
        quantity(
            "power", ("1500", "3000", "100"), "watts", nouns="{} of power", verbs="heats with {}"
        ),
        quantity(
            "boiling time",
            ("3", "8", "1"),
            "minutes",
            nouns="a boiling time of {}",
            verbs="boils in {}",
        ),
        choice(
            "body",
            "brushed steel | glass | porcelain | copper | enamel",
            nouns="a body of {} | a {} body",
            verbs="has a body of {}",
        ),
        choice("lid", "hinged | removable | locking", nouns="a {} lid", verbs="has a {} lid"),
        flag(
            "automatic switch-off",
            nouns="an automatic switch-off",
            verbs="switches itself off",
            denied_nouns="a manual switch",
            denied_verbs="has to be switched off by hand",
        ),
        flag(
            "keep warm",
            nouns="a setting that keeps water warm",
            verbs="keeps water warm",
            denied_nouns="no keep-warm setting",
            denied_verbs="does not keep water warm",
        ),
        COLOUR,
        weight("0.7", "1.9", "0.1", "kg"),
        price("19", "129", "5"),
        WARRANTY,
    ),
)
BACKPACK = Kind(
    "backpack",
    (
        quantity(
            "volume",
            ("12", "48", "2"),
            "litres",
            nouns="a volume of {} | {} of space",
            verbs="carries {} | packs {}",
        ),
        quantity(
            "laptop size",
            ("11", "17", "1"),
            "inches",
            nouns="a sleeve for laptops up to {}",
            verbs="takes laptops up to {}",
        ),
        quantity("pockets", ("3", "12", "1"), "pockets", nouns="{}", verbs="has {}"),
        choice(
            "fabric",
            "canvas | recycled nylon | waxed cotton | cork | hemp",
            nouns="a shell of {} | a {} shell",
            verbs="is sewn from {}",
        ),
        choice(
            "closure",
            "roll-top | zip | buckle | drawstring",
            nouns="a {} closure",
            verbs="closes with a {}",
        ),
        flag(
            "rainproof",
            nouns="protection from rain",
            verbs="keeps out the rain",
            denied_nouns="no protection from rain",
            denied_verbs="does not keep out the rain",
        ),
        flag(
            "chest strap",
            nouns="a chest strap",
            verbs="has a chest strap",
            denied_nouns="no chest strap",
            denied_verbs="has no chest strap",
        ),
        COLOUR,
        weight("420", "1500", "40", "g"),
        price("29", "189", "10"),
        WARRANTY,
    ),
)
LAMP = Kind(
    "lamp",
    (
        quantity(
            "brightness",
            ("200", "1600", "100"),
            "lumens",
            nouns="a brightness of {} | {} of light",
            verbs="shines with {}",
        ),
        quantity(
            "height", ("25", "160", "5"), "cm", nouns="a height of {}", verbs="stands {} tall"
        ),
        quantity(
            "cable",
            ("1.2", "3.0", "0.2"),
            "metres",
            nouns="a cable of {}",
            verbs="has a cable of {}",
        ),
        quantity(
            "bulb life",
            ("5000", "30000", "1000"),
            "hours",
            nouns="a bulb that lasts {}",
            verbs="has a bulb that lasts {}",
        ),
        choice(
            "shade",
            "linen | rice paper | opal glass | brass | felt | rattan",
            nouns="a shade of {} | a {} shade",
            verbs="has a {} shade",
        ),
        choice(
            "style",
            "art deco | nordic | industrial | rustic | minimalist",
            nouns="a {} design | a {} look",
            verbs="has a {} design",
        ),
        flag(
            "dimmable",
            nouns="a dimmer",
            verbs="can be dimmed",
            denied_nouns="no dimmer",
            denied_verbs="cannot be dimmed",
        ),
        COLOUR,
        weight("0.6", "4.8", "0.2", "kg"),
        price("25", "245", "10"),
        WARRANTY,
    ),
)
HEADSET = Kind(
    "headset",
    (
        quantity(
            "battery life",
            ("8", "60", "2"),
            "hours",
            nouns="a battery life of {} | {} of battery life",
            verbs="plays for {}",
        ),
        quantity(
            "drivers",
            ("30", "50", "2"),
            "mm",
            nouns="drivers of {}",
            verbs="sounds through drivers of {}",
        ),
        quantity("range", ("8", "40", "2"), "metres", nouns="a range of {}", verbs="reaches {}"),
        choice(
            "connection",
            "Bluetooth | cable | radio",
            nouns="a {} connection",
            verbs="connects by {}",
        ),
        choice(
            "cushions",
            "velvet | leather | memory foam | cotton",
            nouns="cushions of {} | {} cushions",
            verbs="is padded with {}",
        ),
        flag(
            "noise cancelling",
            nouns="noise cancelling",
            verbs="cancels noise",
            denied_nouns="no noise cancelling",
            denied_verbs="does not cancel noise",
        ),
        flag(
            "microphone",
            nouns="a microphone",
            verbs="has a microphone",
            denied_nouns="no microphone",
            denied_verbs="has no microphone",
        ),
        flag(
            "foldable",
            nouns="a frame that folds",
            verbs="folds flat",
            denied_nouns="a rigid frame",
            denied_verbs="does not fold",
        ),
        COLOUR,
        weight("140", "380", "10", "g"),
        price("35", "395", "10"),
        WARRANTY,
    ),
)
BICYCLE = Kind(
    "bicycle",
    (
        quantity("gears", ("3", "27", "1"), "gears", nouns="{}", verbs="has {}"),
        quantity(
            "wheels",
            ("20", "29", "1"),
            "inches",
            nouns="wheels of {}",
            verbs="rolls on wheels of {}",
        ),
        quantity(
            "maximum load",
            ("90", "180", "5"),
            "kg",
            nouns="a maximum load of {}",
            verbs="bears a load of {}",
        ),
        choice(
            "frame",
            "steel | aluminium | carbon | bamboo | titanium",
            nouns="a frame of {} | a {} frame",
            verbs="has a frame of {}",
        ),
        choice("brakes", "disc | rim | drum", nouns="{} brakes", verbs="stops with {} brakes"),
        choice(
            "use",
            "city streets | long tours | forest trails | gravel roads",
            nouns="a setup for {}",
            verbs="feels at home on {}",
        ),
        flag(
            "electric motor",
            nouns="an electric motor",
            verbs="has an electric motor",
            denied_nouns="no motor",
            denied_verbs="has no motor",
        ),
        flag(
            "lights",
            nouns="built-in lights",
            verbs="has built-in lights",
            denied_nouns="no lights",
            denied_verbs="has no lights",
        ),
        COLOUR,
        weight("8.5", "24.5", "0.5", "kg"),
        price("290", "2990", "50"),
        WARRANTY,
    ),
)
TENT = Kind(
    "tent",
    (
        quantity("sleeps", ("2", "8", "1"), "people", nouns="room for {}", verbs="sleeps {}"),
        quantity(
            "water column",
            ("1500", "6000", "500"),
            "mm",
            nouns="a water column of {}",
            verbs="withstands a water column of {}",
        ),
        quantity(
            "pitching time",
            ("2", "20", "1"),
            "minutes",
            nouns="a pitching time of {}",
            verbs="can be pitched in {}",
        ),
        quantity(
            "height", ("90", "210", "5"), "cm", nouns="a height of {}", verbs="stands {} tall"
        ),
        choice(
            "poles",
            "aluminium | fibreglass | carbon | steel",
            nouns="poles of {} | {} poles",
            verbs="has {} poles",
        ),
        choice(
            "season",
            "summer | three seasons | winter",
            nouns="a fabric for {}",
            verbs="is made for {}",
        ),
        flag(
            "porch",
            nouns="a porch",
            verbs="has a porch",
            denied_nouns="no porch",
            denied_verbs="has no porch",
        ),
        flag(
            "mosquito net",
            nouns="a mosquito net",
            verbs="has a mosquito net",
            denied_nouns="no mosquito net",
            denied_verbs="has no mosquito net",
        ),
        COLOUR,
        weight("1.2", "9.8", "0.2", "kg"),
        price("79", "799", "20"),
        WARRANTY,
    ),
)
WATCH = Kind(
    "watch",
    (
        quantity(
            "diameter",
            ("28", "46", "1"),
            "mm",
            nouns="a diameter of {}",
            verbs="measures {} across",
        ),
        quantity(
            "water resistance",
            ("30", "300", "10"),
            "metres",
            nouns="water resistance to {}",
            verbs="is watertight down to {}",
        ),
        choice(
            "strap",
            "leather | steel | nylon | silicone | cork",
            nouns="a strap of {} | a {} strap",
            verbs="is worn on a {} strap",
        ),
        choice(
            "movement",
            "quartz | automatic | solar",
            nouns="a {} movement",
            verbs="runs on a {} movement",
        ),
        choice(
            "glass",
            "sapphire | mineral | acrylic",
            nouns="{} glass",
            verbs="is protected by {} glass",
        ),
        choice(
            "dial",
            "ivory | black | emerald | copper | pearl",
            nouns="a dial in {} | a {} dial",
            verbs="has a {} dial",
        ),
        flag(
            "date",
            nouns="a date window",
            verbs="shows the date",
            denied_nouns="no date window",
            denied_verbs="does not show the date",
        ),
        flag(
            "luminous hands",
            nouns="luminous hands",
            verbs="glows in the dark",
            denied_nouns="plain hands",
            denied_verbs="does not glow in the dark",
        ),
        weight("32", "140", "2", "g"),
        price("49", "890", "20"),
        WARRANTY,
    ),
)
KINDS = (KETTLE, BACKPACK, LAMP, HEADSET, BICYCLE, TENT, WATCH)
