"""The kinds of products that the sample shop sells."""

from workers.samples.features import Feature, Kind, choice, flag, quantity

COLOUR = choice(
    "colour",
    "sage green | midnight blue | brick red | cream white | charcoal | sunflower yellow | dusty pink | teal",
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
        "price", (low, high, step), "euros", nouns="a price of {} | a price tag of {}", verbs="costs {} | sells for {}"
    )


KETTLE = Kind(
    "kettle",
    (
        quantity(
            "capacity",
            ("0.8", "2.0", "0.1"),
            "litres",
            nouns="a capacity of {} | room for {}",
            verbs="holds {} | takes up to {} of water",
        ),
        quantity("power", ("1500", "3000", "100"), "watts", nouns="{} of power", verbs="heats with {} | draws {}"),
        quantity(
            "boiling time",
            ("3", "8", "1"),
            "minutes",
            nouns="a boiling time of {}",
            verbs="boils in {} | brings water to the boil in {}",
        ),
        choice(
            "body",
            "brushed steel | glass | porcelain | copper | enamel",
            nouns="a body of {} | a {} body",
            verbs="is made of {} | has a body of {}",
        ),
        choice("lid", "hinged | removable | locking", nouns="a {} lid", verbs="opens with a {} lid | has a {} lid"),
        flag(
            "automatic switch-off",
            nouns="an automatic switch-off",
            verbs="switches itself off | turns itself off when the water boils",
            denied_nouns="a switch that you turn off by hand",
            denied_verbs="has to be switched off by hand",
        ),
        flag(
            "keep warm",
            nouns="a setting that keeps water warm",
            verbs="keeps the water warm | can keep water warm",
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
            "volume", ("12", "48", "2"), "litres", nouns="a volume of {} | {} of space", verbs="carries {} | packs {}"
        ),
        quantity(
            "laptop size",
            ("11", "17", "1"),
            "inches",
            nouns="a sleeve for laptops up to {}",
            verbs="takes laptops up to {} | protects laptops up to {}",
        ),
        quantity("pockets", ("3", "12", "1"), "pockets", nouns="{}", verbs="has {} | sorts your things into {}"),
        choice(
            "fabric",
            "canvas | recycled nylon | waxed cotton | cork | hemp",
            nouns="a shell of {} | a {} shell",
            verbs="is made of {} | is sewn from {}",
        ),
        choice("closure", "roll-top | zip | buckle | drawstring", nouns="a {} closure", verbs="closes with a {}"),
        flag(
            "rainproof",
            nouns="a rainproof shell | protection from rain",
            verbs="keeps out the rain | is rainproof",
            denied_nouns="no protection from rain",
            denied_verbs="is not rainproof | does not keep out the rain",
        ),
        flag(
            "chest strap",
            nouns="a chest strap",
            verbs="has a chest strap | sits firmly with a chest strap",
            denied_nouns="no chest strap",
            denied_verbs="has no chest strap | does without a chest strap",
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
            verbs="shines with {} | gives {} of light",
        ),
        quantity("height", ("25", "160", "5"), "cm", nouns="a height of {}", verbs="stands {} tall | is {} high"),
        quantity("cable", ("1.2", "3.0", "0.2"), "metres", nouns="a cable of {}", verbs="has a cable of {}"),
        quantity(
            "bulb life",
            ("5000", "30000", "1000"),
            "hours",
            nouns="a bulb that lasts {}",
            verbs="runs on a bulb that lasts {} | burns for {}",
        ),
        choice(
            "shade",
            "linen | rice paper | opal glass | brass | felt | rattan",
            nouns="a shade of {} | a {} shade",
            verbs="shines through a shade of {} | has a {} shade",
        ),
        choice(
            "style",
            "art deco | nordic | industrial | rustic | minimalist",
            nouns="a {} design | a {} look",
            verbs="is {} in style | has a {} design",
        ),
        flag(
            "dimmable",
            nouns="a dimmer",
            verbs="can be dimmed | dims to suit the evening",
            denied_nouns="a fixed brightness | no dimmer",
            denied_verbs="cannot be dimmed | does not dim",
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
            verbs="plays for {} | lasts {} on one charge",
        ),
        quantity("drivers", ("30", "50", "2"), "mm", nouns="drivers of {}", verbs="sounds through drivers of {}"),
        quantity(
            "range", ("8", "40", "2"), "metres", nouns="a range of {}", verbs="reaches {} | stays connected over {}"
        ),
        choice("connection", "Bluetooth | cable | radio", nouns="a {} connection", verbs="connects by {}"),
        choice(
            "cushions",
            "velvet | leather | memory foam | cotton",
            nouns="cushions of {} | {} cushions",
            verbs="rests on cushions of {} | is padded with {}",
        ),
        flag(
            "noise cancelling",
            nouns="noise cancelling",
            verbs="cancels noise | shuts out the noise around you",
            denied_nouns="no noise cancelling",
            denied_verbs="does not cancel noise",
        ),
        flag(
            "microphone",
            nouns="a microphone | a built-in microphone",
            verbs="has a microphone | picks up your voice with a microphone",
            denied_nouns="no microphone",
            denied_verbs="has no microphone | does without a microphone",
        ),
        flag(
            "foldable",
            nouns="a frame that folds",
            verbs="folds flat | folds away",
            denied_nouns="a rigid frame",
            denied_verbs="does not fold | cannot be folded",
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
        quantity("gears", ("3", "27", "1"), "gears", nouns="{}", verbs="has {} | shifts through {}"),
        quantity("wheels", ("20", "29", "1"), "inches", nouns="wheels of {}", verbs="rolls on wheels of {}"),
        quantity(
            "maximum load",
            ("90", "180", "5"),
            "kg",
            nouns="a maximum load of {}",
            verbs="carries up to {} | bears a load of {}",
        ),
        choice(
            "frame",
            "steel | aluminium | carbon | bamboo | titanium",
            nouns="a frame of {} | a {} frame",
            verbs="is built on a {} frame | has a frame of {}",
        ),
        choice("brakes", "disc | rim | drum", nouns="{} brakes", verbs="stops with {} brakes | has {} brakes"),
        choice(
            "use",
            "city streets | long tours | forest trails | gravel roads",
            nouns="a setup for {}",
            verbs="is made for {} | feels at home on {}",
        ),
        flag(
            "electric motor",
            nouns="an electric motor",
            verbs="has an electric motor | helps you along with an electric motor",
            denied_nouns="no motor",
            denied_verbs="has no motor | runs on muscle alone",
        ),
        flag(
            "lights",
            nouns="lights | lights front and rear",
            verbs="comes with lights | has lights front and rear",
            denied_nouns="no lights",
            denied_verbs="comes without lights | has no lights",
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
        quantity(
            "sleeps", ("2", "8", "1"), "people", nouns="room for {} | space for {}", verbs="sleeps {} | shelters {}"
        ),
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
            verbs="can be pitched in {} | is up in {}",
        ),
        quantity("height", ("90", "210", "5"), "cm", nouns="a height of {}", verbs="stands {} tall | is {} high"),
        choice(
            "poles",
            "aluminium | fibreglass | carbon | steel",
            nouns="poles of {} | {} poles",
            verbs="is held up by poles of {} | has {} poles",
        ),
        choice("season", "summer | three seasons | winter", nouns="a fabric for {}", verbs="is made for {}"),
        flag(
            "porch",
            nouns="a porch",
            verbs="has a porch | opens onto a porch",
            denied_nouns="no porch",
            denied_verbs="has no porch | does without a porch",
        ),
        flag(
            "mosquito net",
            nouns="a mosquito net",
            verbs="has a mosquito net | keeps mosquitoes outside",
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
        quantity("diameter", ("28", "46", "1"), "mm", nouns="a diameter of {}", verbs="measures {} across"),
        quantity(
            "water resistance",
            ("30", "300", "10"),
            "metres",
            nouns="water resistance to {}",
            verbs="is watertight down to {} | can be worn down to {} under water",
        ),
        choice(
            "strap",
            "leather | steel | nylon | silicone | cork",
            nouns="a strap of {} | a {} strap",
            verbs="is worn on a {} strap | has a strap of {}",
        ),
        choice("movement", "quartz | automatic | solar", nouns="a {} movement", verbs="runs on a {} movement"),
        choice("glass", "sapphire | mineral | acrylic", nouns="{} glass", verbs="is protected by {} glass"),
        choice(
            "dial",
            "ivory | black | emerald | copper | pearl",
            nouns="a dial in {} | a {} dial",
            verbs="shows the time on a {} dial | has a dial in {}",
        ),
        flag(
            "date",
            nouns="a date window",
            verbs="shows the date | has a date window",
            denied_nouns="no date window",
            denied_verbs="does not show the date",
        ),
        flag(
            "luminous hands",
            nouns="luminous hands | hands that glow",
            verbs="has luminous hands | glows in the dark",
            denied_nouns="plain hands",
            denied_verbs="does not glow in the dark",
        ),
        weight("32", "140", "2", "g"),
        price("49", "890", "20"),
        WARRANTY,
    ),
)
KINDS = (KETTLE, BACKPACK, LAMP, HEADSET, BICYCLE, TENT, WATCH)
