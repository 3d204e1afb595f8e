"""The command line: the declaration of every flag, the quick parser made from it, the words users see."""
