//! Given names, by which a name is told where nothing around it says that it is one.

use super::super::normal::folded_pattern;
use std::collections::HashSet;
use std::sync::LazyLock;

/// Common given names of people who write in Latin letters, in lower case. Words that are used as often for something else stand
/// in [`ALSO_WORDS`].
const GIVEN: &str = "
aaron abdul abdullah abigail adam adele adrian adriana agnes agnieszka ahmad ahmed aidan aisha alan alana albert alberto alejandra
alejandro aleksander aleksandra alessandra alessandro alessia alex alexander alexandra alexandre alexandros alexis alfred alfredo ali
alice alicia alina alison alistair allan allen allison alvaro amanda amelia amelie amina amir amit amy ana anastasia anders andre andrea
andreas andreea andrei andres andrew andrzej angela angelica angelina angelo angus anil anita anja anke ann anna annabelle anne annette
annika anouk anthony antje antoine antoinette anton antonia antonio anya ariana arjun armando arne arnold arthur arturo ashley asif
astrid audrey aurelie aurora axel ayesha aylin barbara bartosz beatrice beatriz becky belinda benedict benedikt benjamin benoit bernadette
bernard bernd bernhard bernice bert bertrand beth bethany betty beverly bianca birgit bjorn bjørn björn bogdan bonnie boris brandon brenda
brendan brent brett brian bridget brigitte brittany bruce bruno bryan caitlin caleb calvin camila camille candace carina carl carla carlo
carlos carmen carol carolina caroline carolyn carsten casey cassandra catalina caterina catherine cathy cecilia cedric celia celine cesar
chad chandra charlene charles charlie charlotte chelsea cheryl chiara chloe chris christa christian christiane christina christine
christoph christophe christopher claire clara clarence clarissa claudia claudio clement clifford colette colin connor constance cordelia
corinna corinne cornelia courtney craig cristian cristiana cristina curtis cynthia damian damien daniel daniela daniele danielle danny
daphne darren daryl dave david deborah debra declan deepak delphine denis denise dennis derek desmond detlef diana diane didier diego
dieter dimitri dimitrios dirk dominic dominik dominika dominique donald donna dora doreen doris dorothea dorothy douglas duncan dustin
dwayne dylan edgar edith edmund eduardo edward edwin eileen elaine eleanor elena eleni elias elif elisa elisabeth elise elizabeth elke ella
ellen elliot elsa elvira emanuel emil emilia emilie emilio emily emma emmanuel enrico enrique eric erica erich erik erika erin ernesto
ernst esteban estelle esther ethan eugene eva evan evelyn ewa fabian fabio fabrice fatima federica federico felicia felicity felipe felix
ferdinand fernanda fernando filip filippo fiona florence florian francesca francesco francine francis francisca francisco franck
francois françois françoise frank franz fred freddie frederic frederick frederik freya frida friedrich fritz gabriel gabriela gabriele
gabriella gareth gary gavin geert gemma geoffrey george georg georgios gerald geraldine gerard gerhard gertrude giacomo gianluca gilbert
gilles gina giorgia giorgio giovanni gisela giulia giuseppe gladys glen glenn gloria gonzalo gordon graham greg gregor gregory greta
grzegorz guadalupe guido guillaume guillermo gunther gustav gustavo guy günter hamza hanna hannah hannes hans harald harold harriet harry
harvey hassan hector heidi heike heiko heinrich heinz helen helena helene helga helmut hendrik henri henrik henry herbert herman hermann
hilary hilda horst howard hubert hugh hugo hussein ian ibrahim ida ignacio igor ilona imran ines inga inge ingeborg ingo ingrid irene irina
iris irma isaac isabel isabella isabelle isla ismail ivan ivana ivo jacek jack jackie jackson jacob jacqueline jacques jaime jake jakob jakub
james jamie jan jana jane janet janice janine janina jaroslav jason javier jean jeanette jeanne jeff jeffrey jenna jennifer jenny jens
jeremy jerome jerry jesse jessica jessie jesus jill jim jimmy joachim joan joana joanna joanne joao joaquin jochen jodie joe joel joelle
joerg johan johann johanna johannes john johnny jolanta jonas jonathan jordi jorge jose josef joseph josephine joshua josé josue joy joyce
joão juan juana juanita judith judy julia julian juliana julie julien juliet juliette julio jurgen justin justyna jutta jörg jürgen kai kamil
kara karen karin karina karl karla karsten kasper katarina katarzyna kate katerina katharina katherine kathleen kathrin kathryn kathy katie
katja katrin kayla keith kelly kenneth kerstin kevin khadija khalid kieran kim kimberly kirsten kirsty klara klaus konrad konstantin krista
kristen kristian kristin kristina kristine krystyna krzysztof kurt kyle lara larry lars laura lauren laurence laurent lawrence lea leah leila
lena leo leon leonard leonardo leonie leonor leroy leslie lewis liam lidia liesbeth lily linda lindsay lionel lisa liza lois lorena lorenzo
lorraine lothar louis louisa louise luc luca lucas lucia luciano lucie lucy ludovic ludwig luigi luis luisa lukas lukasz luke lydia lynn
maarten madeleine madison magda magdalena magnus mahmoud maja malcolm malgorzata malik manfred manuel manuela marc marcel marcela marcelo
marcia marcin marco marcos marcus marek margaret margareta margarita margot marguerite maria mariam marian mariana marianne marie marieke
marilyn marina mario marion marisa marit marius mariusz marjorie markus marlene marta martha martijn martin martina martine marvin mary
maryam mateo mateusz mathias mathieu mathilde matilda matteo matthew matthias matthieu maureen maurice mauricio mauro max maxim maxime
maximilian maya megan mehdi mehmet melanie melinda melissa mercedes meredith mia michael michaela michal michel michele michelle miguel
mikael mikhail mikkel milan mildred milena milos mira miranda miriam mirjam mitchell mohamed mohammad mohammed mohan moira molly mona
monica monika monique morgan moritz muhammad murat mustafa myriam nadia nadine nancy naomi natalia natalie natasha nathalie nathan nathaniel
neil nele nelson nicholas nick nico nicola nicolas nicole niels nigel nikita niklas nikola nikolai nikolaos nils nina nora norbert norma
norman nuno octavia olaf oleg olga oliver olivia olivier omar ornella oscar oskar osman otto owen pablo pamela paola paolo pascal pascale
patricia patricio patrick patrik patrizia paul paula pauline paulo pavel pawel pedro peggy penelope pernille peter petr petra philip
philipp philippe phillip phoebe phyllis pierre pieter pilar piotr priya rachel radoslaw rafael rahul raimund raj rajesh ralf ralph ramon
ramona randall raphael raquel rashid raul ravi raymond rebecca regina reinhard rene renata renate renee renée rené ricardo riccardo richard
rita rob robert roberta roberto robin robyn rocio rodney rodolfo rodrigo roger roland rolf roman ronald ronja rosa rosalie rosalind rosario
rosemarie rosemary roxanne roy ruben rudolf rupert russell ruth ryan sabina sabine sabrina sally salvador salvatore sam samantha samir
samuel sandra sandro sandy sanjay sara sarah sascha scott sean sebastian selina selma serena serge sergei sergio shannon sharon shaun
sheila shirley sibylle siegfried sigrid silke silvia simon simona simone simran sofia sofie solange sonia sonja sophia sophie soren stacey
stacy stanislav stanley stefan stefania stefanie stefano steffen stella stephan stephane stephanie stephen steve steven stewart stuart
sunil suresh susan susana susanna susanne suzanne svein sven svenja svetlana swen sybille sylvain sylvia sylvie sylwia søren tamara tanja
tanya tara tatiana ted teresa terence theodor theodore theresa therese thierry thomas thorsten tiago tim timo timothy tina tobias tom tomas
tomasz tommaso tommy toni tony torben torsten tracey tracy travis trevor tristan udo ulrich ulrike ursula uwe valentin valentina valeria
valerie vanessa vera verena veronica veronika veronique vicente vicki vicky victor victoria viktor viktoria vincent vincenzo viola violet
virginie vivian viviane vladimir volker walter wanda wayne wendy werner wesley wilfried wilhelm willem william wilma winfried winston
wojciech wolfgang xavier yasmin yolanda yusuf yvette yvonne zachary zainab zbigniew zofia zoe zuzanna
";

/// Given names that are words, places or makes as often: they tell a name only with a surname behind them.
const ALSO_WORDS: &str = "
april art august austin bill brook chase chip cliff clay dakota dale dallas dawn dean destiny don drew earl eden ernest faith fay florida
forest frankie gene georgia gill grace grant hazel heath hope hunter ivy jay jasmine jasper jordan joy june kay ken lance lee lincoln logan
lou love mark marshall mason may melody mercy miles misty nick norm olive page parker pat pearl penny peg phil ray reed rich rob robin rod
rose ruby rusty sandy savannah sierra skip sky summer sue terry trinity troy tyler van victor virginia vince wade ward warren will willow
";

/// Without accents, as they are often written.
static ALONE: LazyLock<HashSet<String>> =
    LazyLock::new(|| GIVEN.split_whitespace().map(folded).filter(|name| !AMBIGUOUS.contains(name)).collect());
static AMBIGUOUS: LazyLock<HashSet<String>> = LazyLock::new(|| ALSO_WORDS.split_whitespace().map(folded).collect());

/// What a capitalised word says of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    /// It is a given name and hardly anything else.
    Alone,
    /// It is a given name where a surname follows.
    BeforeSurname,
    /// It is no given name that is known here.
    No,
}

/// Looks a word up, whatever its case and accents; of a name with a hyphen its first part.
pub(super) fn given(word: &str) -> Given {
    let first = folded(word.split('-').next().unwrap_or_default());
    if ALONE.contains(&first) {
        Given::Alone
    } else if AMBIGUOUS.contains(&first) {
        Given::BeforeSurname
    } else {
        Given::No
    }
}

fn folded(word: &str) -> String {
    folded_pattern(&word.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_words_tell_nothing_alone() {
        assert_eq!(given("Jessica"), Given::Alone);
        assert_eq!(["JEAN-PIERRE", "Élise", "Francois", "Jürgen"].map(given), [Given::Alone; 4]);
        assert_eq!(["Mark", "Will", "may"].map(given), [Given::BeforeSurname; 3]);
        assert_eq!(["Printer", "", "Excel"].map(given), [Given::No; 3]);
        let all: Vec<&str> = GIVEN.split_whitespace().chain(ALSO_WORDS.split_whitespace()).collect();
        assert!(all.iter().all(|name| *name == name.to_lowercase() && name.chars().all(char::is_alphabetic)));
    }
}
