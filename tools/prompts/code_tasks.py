"""Functions to write, from one line of thought to an afternoon's; each with how hard it is taken to be."""

from __future__ import annotations

TASKS: tuple[tuple[float, str], ...] = (
    (0.06, "Write a Python function that returns the largest number in a list."),
    (0.06, "Write a Python function that says whether a number is even."),
    (0.08, "Write a Python function that reverses a string."),
    (0.08, "Write a Python function that turns a temperature in Celsius into Fahrenheit."),
    (0.1, "Write a Python function that counts the vowels in a sentence."),
    (0.1, "Write a Python function that returns the sum of all odd numbers up to and including n."),
    (0.12, "Write a Python function that removes all spaces from both ends of every line of a text."),
    (
        0.12,
        "Write a Python function that joins two dictionaries; where both have a key, the second one wins.",
    ),
    (0.14, "Write a Python function that says whether a word is a palindrome, ignoring capitals."),
    (0.16, "Write a Python function that returns the second largest distinct number of a list, or None."),
    (0.18, "Write a Python function that splits a list into chunks of n items; the last one may be shorter."),
    (0.18, "Write a Python function that counts how often each word occurs in a text, ignoring capitals."),
    (0.2, "Write a Python function that reads a text file and returns its longest line."),
    (
        0.22,
        "Write a Python function that removes duplicates from a list and keeps the first of each in order.",
    ),
    (0.24, "Write a Python function that returns all prime numbers below n with the sieve of Eratosthenes."),
    (0.26, "Write a Python function that turns a list of dictionaries with equal keys into CSV text."),
    (0.28, "Write a Python function that writes a whole number from 1 to 3999 as a Roman numeral."),
    (
        0.3,
        "Write a Python function that groups a list of words by their sorted letters, so that anagrams meet.",
    ),
    (0.32, "Write a Python function that checks whether the brackets (), [] and {} in a text are balanced."),
    (0.34, "Write a Python function that merges two sorted lists into one sorted list without using sort."),
    (0.36, "Write a Python decorator that measures how long a function takes and logs it on every call."),
    (0.38, "Write a Python function that flattens lists that are nested to any depth, without recursion."),
    (0.4, "Write a Python context manager that changes the working folder and always changes it back."),
    (
        0.42,
        "Write a Python function that finds the longest common prefix of many strings, fast for long ones.",
    ),
    (0.44, "Write a Python class for a stack that can also tell its smallest item in constant time."),
    (0.46, "Write a Python generator that yields the moving average of a stream over the last n values."),
    (
        0.5,
        "Write a Python function that parses durations such as '1h30m', '45s' or '2d 4h' into seconds, and raises a"
        " ValueError that names the part it could not read.",
    ),
    (
        0.52,
        "Write a Python function that takes meetings as (start, end) pairs and returns the smallest number of rooms"
        " in which they can all take place. Say what its running time is.",
    ),
    (
        0.54,
        "Write a Python class for a cache with at most n entries that drops the one that was used the longest time"
        " ago. Reading and writing must take constant time.",
    ),
    (
        0.56,
        "Write a Python function that calls another one again when it raises an OSError, up to five times, with waits"
        " that double each time and are chosen at random within that. The clock and the random source are arguments.",
    ),
    (
        0.58,
        "Write a Python function that finds the shortest path in a grid of open cells and walls from one corner to the"
        " other, moving in four directions, and returns the path itself and not only its length.",
    ),
    (
        0.6,
        "Given a text file that is larger than memory, write a Python program that prints the ten most frequent words."
        " Explain how much memory it needs at most, and what you would change if even the distinct words did not fit.",
    ),
    (
        0.64,
        "Write a Python function that evaluates arithmetic such as '2 * (3 + 4) - -5 / 2' without eval. It must respect"
        " precedence, allow signs, and report the position of the first character that does not fit.",
    ),
    (
        0.66,
        "Write an asyncio function that downloads many addresses with at most n requests at a time, stops all of them"
        " at the first failure, and never leaves a task running. Explain why no result can be lost.",
    ),
    (
        0.68,
        "Write a Python function that compares two versions of a list of records with an id and returns what was added,"
        " removed and changed, field by field. It must cope with duplicate ids and say how.",
    ),
    (
        0.7,
        "Write a Python class for a thread-safe token bucket that allows r requests per second with bursts of b. Waiting"
        " threads must be served in the order in which they came, and a test must not need to sleep.",
    ),
    (
        0.72,
        "Write a Python function that finds all words of a dictionary in a grid of letters, where a word may turn at"
        " each step but never uses a cell twice. It should be fast for a hundred thousand words; say why it is.",
    ),
    (
        0.74,
        "Write a small template engine in Python: {{ name }} is replaced, {% if name %} … {% endif %} may be nested, and"
        " an error names line and column. Show the tests with which you would begin.",
    ),
    (
        0.76,
        "Write a Python function that schedules tasks with durations and dependencies on m workers so that the whole is"
        " done early. Detect circles. Explain how far from the best possible result it can be.",
    ),
    (
        0.78,
        "Write a Python program that keeps two folders in step in both directions. Say how it knows what changed since"
        " the last time, what it does when both sides changed, and how it survives being stopped half-way.",
    ),
    (
        0.8,
        "Design and write a Python class for an append-only log file that survives a crash at any moment: after a"
        " restart every record that append() confirmed is there, and no half record is ever returned. Explain each call"
        " to fsync, and what happens when the disk is full.",
    ),
    (
        0.82,
        "Write a Python function that solves any sudoku by constraint propagation and search, counts the solutions up"
        " to two, and uses this to make new puzzles with a single solution. Discuss how you would grade how hard a"
        " puzzle is for a person rather than for the program.",
    ),
    (
        0.86,
        "Write a Python module for a bank's ledger kept in integer cents: transfers are atomic, no account may fall"
        " below its limit, and the same transfer sent twice is booked once. Many threads use it at a time. Prove that it"
        " cannot deadlock, and write a property-based test of the rule that money is neither made nor lost.",
    ),
    (
        0.88,
        "Write a regular expression matcher in Python for literals, '.', '*', '+', '?', '|' and groups that takes time"
        " linear in the length of the text. Explain why a backtracking matcher can be exponential, give an example on"
        " which it is, and show how you would test both against each other.",
    ),
    (
        0.9,
        "A service gets events that may come late, twice and out of order. Write Python code that counts distinct users"
        " per minute, gives a first result soon and corrects it later, uses bounded memory and can be restarted at any"
        " time. State precisely what it promises, and what it gives up when memory runs out.",
    ),
    (
        0.92,
        "Write a Python program that edits one text for several people at once without a server deciding the order:"
        " every copy must reach the same text once all changes have arrived. Choose a data structure, argue that it"
        " converges, keep the deleted characters from piling up, and test it with random delays.",
    ),
    (
        0.94,
        "Write a type checker in Python for a small functional language with let, lambda, tuples and conditionals that"
        " infers the most general type without annotations. Explain unification and why let is generalised but lambda is"
        " not, and give two programs that show the difference.",
    ),
    (
        0.96,
        "Write a garbage collector in Python for a simulated heap: objects hold references to each other, circles occur,"
        " and the program goes on while the collector works in small steps. State the invariant that keeps live objects"
        " alive, show where the write barrier is needed, and test it against a simple collector that stops the world.",
    ),
)
