"""The words of spoken codes: 512 short, common, hard to mistake for one another, 9 bits each."""

_TEXT = """
acorn album alder alpine amber anchor antler apple apricot apron arbor arcade arctic armor arrow ashen
aspen aster atlas attic autumn avocado axle azure bacon badge bagel bamboo banana banjo barley barrel
basil basket baton bazaar beacon beaver beetle bellow bench berry birch biscuit bison blanket blazer
blossom bobcat bonfire bonnet bottle boulder bouquet bramble brandy breeze bridge bronze brook bubble
bucket buckle buffalo bugle bundle bunker burrow butter button cabin cactus camel camera campus canal
candle canoe canvas canyon caramel caravan cargo carpet carrot cashew castle cavern cedar cello cement
cereal chalk chapel cherry chess chestnut chimney chorus cider cinema circus citrus clarinet clover
cobalt cobra cocoa coconut coffee comet compass copper coral cork cotton cougar crayon cricket crocus
crystal cuckoo cupcake curtain cushion cyclone cypress daffodil dagger dahlia daisy dancer denim desert
diamond dolphin domino donkey doodle dragon drizzle drummer dune eagle easel echo eclipse elbow elder
elephant elm ember emerald engine envelope estuary fabric falcon fathom feather fennel fern ferry fiddle
fiesta filter finch fjord flamingo flannel flute forest fossil fountain fox freckle frost funnel gable
galaxy gallop garden garlic garnet gazelle geyser ginger giraffe glacier glider goblet gondola gopher
gorilla grape gravel griffin grotto guitar gypsum hammock hamster harbor harp hazel heather hedge helmet
heron hickory hobby honey hornet hotel husky iceberg igloo indigo inkwell iris island ivory jackal
jacket jaguar jasmine jelly jersey jigsaw jockey jungle juniper kayak kennel kernel kettle kiosk kitchen
kitten kiwi koala lagoon lantern lasso lattice lavender lemon leopard lichen lilac limber linen lizard
llama lobster locket lotus lumber lynx magnet magpie mango mantle maple marble marigold market marmot
meadow melody melon meteor midnight mimosa minnow mirror mitten mocha molasses monsoon moose mosaic moth
mountain muffin mulberry museum mushroom mustard napkin nectar needle nickel noodle nougat nugget nutmeg
oasis oatmeal obsidian ocean octopus olive onion opal orange orbit orchard orchid osprey ostrich otter
oyster paddle pagoda palace panda panther papaya paprika parade parrot parsley pasta peacock peanut
pebble pelican pencil pepper petal pewter piano pickle picnic pigeon pillow pirate pistachio planet
plaza plum pocket polka poncho poplar poppy porcelain potato prairie pretzel prism puddle puffin pumpkin
puppet puzzle pyramid python quail quarry quartz quilt quiver rabbit raccoon radish rafter ranger raven
record reef relish ribbon rifle ripple river robin rocket rooster rosemary rover rubber ruby saddle
saffron sailor salad salmon sandal sapphire satchel saturn scarf scooter seagull sequoia sesame shadow
shamrock sherbet shovel silver skillet skylark sleigh slipper smoky sorbet sparrow spider spinach spiral
sponge spruce squash squirrel stable stallion starfish steeple stencil stork stream sugar summit sunset
swallow sycamore syrup tablet tadpole talon tandem tango tapestry tavern teapot temple tennis terrace
thicket thimble thistle thunder ticket tiger timber toffee tomato topaz tornado tractor trellis trombone
trumpet tulip tundra tunnel turban turnip turtle tuxedo twilight umbrella unicorn valley vanilla velvet
violet violin volcano voyage waffle wagon walnut walrus wasabi waterfall weasel whisker whistle willow
window winter wizard wombat yogurt zebra zeppelin zigzag zinnia zipper zither almond anvil ballad bishop
boomerang cascade chariot cradle forge harvest ladder lemur mammoth nomad pasture quiche rhubarb sundial
"""

WORDS: tuple[str, ...] = tuple(_TEXT.split())
