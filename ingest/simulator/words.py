"""The words of the simulated Reddit: common English, so that people can read simulated threads."""

_TASTE = """
honest patient careful gentle clever funny kind calm brave warm bright vivid quiet simple clear precise detailed
thorough practical useful helpful friendly humble curious playful sharp fresh rich deep subtle elegant tender sincere
steady wise generous modest lively witty thoughtful sad angry bitter loud rude lazy boring vague sloppy harsh cold
cruel smug bland messy dull shallow noisy pushy petty grumpy gloomy reckless careless stubborn greedy jealous selfish
cynical hostile tedious awkward clumsy confusing misleading pointless dragon castle forest ocean river mountain garden
winter summer lantern mirror shadow thunder harvest journey letter mother brother soldier teacher doctor lawyer budget
contract salary schedule evidence theory experiment measurement equation molecule planet galaxy fossil virus neuron
model sample result method wizard compass verdict
"""

_COMMON = """
the to and of a in that it is was for you on with as at be this have from or had by not but what all were when we
there can an your which their if will each about how up out them then she many some so these would other into has more
her two like him see time could no make than first been its who now people my made over did down only way find use may
water long little very after words called just where most know get through back much before go good new write our used
me man too any day same right look think also around another came come work three word must because does part even
place well such here take why things help put years different away again off went old number great tell men say small
every found still between name should home big give air line set own under read last never us left end along while
might next sound below saw something thought both few those always looked show large often together asked house world
going want school important until form food keep children feet land side without boy once animals life enough took
sometimes four head above began almost live page got earth need far hand high year country cut turn point hear close
answer grow study learn plant cover sun state eyes move try against second
"""

_TOPIC = """
window table kitchen street corner market bridge station ticket luggage bottle pencil notebook paper folder drawer
blanket pillow curtain carpet ceiling ladder hammer engine wheel bicycle truck highway tunnel airport pilot captain
island harbor anchor basket apple orange lemon onion garlic pepper butter cheese bread coffee sugar dinner breakfast
library museum theater concert guitar piano violin drummer singer painter camera picture poster statue temple church
tower palace village suburb city office manager meeting email phone laptop keyboard screen password printer server
network router signal battery charger cable plastic metal copper silver marble cotton leather rubber jacket sweater
shirt trousers shoes gloves scarf umbrella raincoat helmet uniform badge police hospital nurse medicine vitamin
allergy fever headache dentist insurance bank loan credit mortgage rent landlord roommate neighbor cousin uncle nephew
grandma wedding birthday holiday vacation festival parade costume mask balloon candle fireplace chimney garage
basement attic balcony fence gate path meadow valley desert canyon glacier volcano beach cliff cave rabbit turtle
pigeon sparrow eagle falcon salmon shark whale dolphin spider beetle butterfly mosquito horse donkey goat chicken
turkey farmer tractor barn orchard vineyard bakery butcher tailor barber plumber carpenter electrician
"""

_SUBJECTS = """
bees chess coral opera saffron poker ballet cactus comets kayak llamas origami pottery quilts robots sailing tango
tulips wolves yoga zebras bamboo falafel jigsaw
"""

TASTE_WORDS = tuple(_TASTE.split())
"""120 words that carry taste: each community likes or dislikes each of them."""
COMMON_WORDS = tuple(_COMMON.split())
"""Neutral words that every community uses, the most frequent first."""
TOPIC_WORDS = tuple(_TOPIC.split())
"""Neutral words that each community uses with its own frequencies."""
SUBJECT_WORDS = tuple(_SUBJECTS.split())
"""24 words, one of which is the subject of a post; a comment names it or another one."""
TURN_WORD = "yet"
"""The word that divides a phrase: what comes after it counts for more."""
