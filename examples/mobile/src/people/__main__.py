"""Start the app: what `briefcase dev` and the packaged app run."""

from people.app import PeopleApp

if __name__ == "__main__":
    PeopleApp("People", "com.example.people").main_loop()
