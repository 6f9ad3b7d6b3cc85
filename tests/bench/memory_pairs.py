"""Questions written by hand for measuring memory: real support traffic in its own style, unlike the demo's.

A line is one intent; its questions, parted by `|`, mean the same. Lines of one block are near misses of each other:
same words, same product area, another answer. `CONTRASTS` are pairs that differ in one thing that changes the answer.
"""

BLOCKS = (
    """
    How do I reset my password? | I forgot my password, how can I get a new one? | What is the way to recover a lost password?
    How do I change my email address? | Where can I update the email on my account? | I want to use a different email to log in, how?
    How do I turn on two-factor authentication? | Can I set up 2FA for my login? | Where do I enable two-step verification?
    How do I delete my account? | I want to close my account for good, what do I do? | Where can I permanently remove my profile?
    How do I change my username? | Can I pick another user name? | Where is my username edited?
    Why is my account locked? | My account got blocked, what is the reason? | What makes an account get locked?
    """,
    """
    How long does a refund take? | When will I get my money back? | How many days until my refund arrives?
    Who pays for return shipping? | Is the cost of sending a return covered? | Do I have to pay postage when I return something?
    How do I return an item? | What are the steps for sending a product back? | I want to give back what I bought, how does that work?
    Can I exchange an item for another size? | Is it possible to swap my order for a different size? | How do I trade a product for another size?
    Can I get a refund on sale items? | Are discounted products refundable? | Do you refund things bought at a reduced price?
    How do I cancel an order? | I ordered by mistake, can I cancel it? | What do I do to call off my order?
    """,
    """
    How do I add a team member? | How can I invite a colleague to my workspace? | Where do I send an invitation to a new user?
    How do I remove a team member? | How can I take somebody out of my workspace? | A colleague left, how do I revoke their access?
    How do I make someone an administrator? | Where can I give a user admin rights? | How do I promote a member to admin?
    How many members can a team have? | What is the maximum team size? | Is there a limit on the number of people in a workspace?
    How do I rename my workspace? | Can the name of our workspace be changed? | Where do I edit the workspace name?
    How do I transfer ownership of a workspace? | Can I hand the workspace over to another owner? | How does someone else become the owner?
    """,
    """
    Where can I download my invoices? | How do I get a PDF of my bill? | I need a copy of an invoice, where is it?
    How do I change my payment method? | Where can I update my credit card? | I have a new card, how do I put it on file?
    Which payment methods do you accept? | What ways of paying do you support? | Can I pay with PayPal or only by card?
    How do I add our VAT number? | Where do I enter a tax ID for billing? | Can our tax number be shown on the invoice?
    When will I be charged? | On which day is my card billed? | What is the date of the next payment?
    Why was I charged twice? | There is a double charge on my card, why? | My bank shows two payments instead of one, what happened?
    What happens when a payment fails? | What if my card is declined? | Do you suspend accounts after a failed payment?
    """,
    """
    How do I upgrade my plan? | Where can I switch to a higher tier? | I want a bigger plan, how do I get it?
    How do I downgrade my plan? | Can I move to a cheaper tier? | Where do I switch to a smaller subscription?
    How do I cancel my subscription? | Where can I stop my plan from renewing? | I do not want to continue paying, how do I unsubscribe?
    Can I pause my subscription? | Is it possible to put my plan on hold? | How do I freeze my membership for a while?
    What is the difference between Pro and Enterprise? | How do the Pro and Enterprise plans compare? | What does Enterprise have that Pro does not?
    Do you offer a discount for nonprofits? | Is there a special price for charities? | How much do nonprofit organizations save?
    Is there a free trial? | Can I try the product before paying? | Do you let people test it for free?
    """,
    """
    How do I export my data? | Can I download all my records? | Where is the export function?
    How do I import contacts from a CSV file? | Can I upload a spreadsheet of contacts? | Where do I bring in my contact list?
    Where is my data stored? | In which country are your servers? | What is the physical location of our data?
    How long do you keep backups? | What is the retention period of backups? | After how many days are backups deleted?
    Is my data encrypted? | Do you encrypt stored data? | What encryption protects our files?
    How often is data backed up? | What is the backup frequency? | Do you make backups every day or every week?
    """,
    """
    What is the API rate limit? | How many API requests per minute are allowed? | When does the API start throttling my calls?
    How do I create an API key? | Where can I generate a token for the API? | I need API credentials, how do I make them?
    How do I rotate an API key? | What is the way to replace an old API token? | Can I swap my API key for a fresh one?
    How do I set up a webhook? | Where can I register a URL for event notifications? | Can you call our endpoint when something happens?
    Why does the API return error 403? | What is the cause of a 403 response? | My request is forbidden, what is wrong?
    Do you have a Python client library? | Is there an SDK for Python? | Can I use your API from Python with a package?
    Which API version should I use? | What is the newest version of the API? | Is there a current API release we should target?
    """,
    """
    Where is my package? | How can I track my order? | What is the status of my shipment?
    Do you ship abroad? | Can you deliver to other countries? | Is international shipping available?
    How much is express shipping? | What does next-day delivery cost? | What is the fee for fast delivery?
    Can I change my delivery address? | I moved, can my order go to a new address? | How do I edit where the parcel is sent?
    My order arrived damaged, what now? | The item came broken, what should I do? | I received a defective product, how do I report it?
    An item is missing from my order, what now? | Something was left out of my parcel, what should I do? | I did not receive everything I ordered, whom do I tell?
    """,
    """
    When is your support team available? | What are your customer service hours? | At what times can I reach support?
    How do I contact support? | Where can I reach a human? | What is the way to talk to your help team?
    How fast does support reply? | What is your typical response time? | How long until somebody answers my ticket?
    Can I get phone support? | Is there a number I can call for help? | Do you offer help by telephone?
    In which languages do you offer support? | Can I get help in Spanish or French? | What languages does your help team speak?
    """,
    """
    Which browsers are supported? | What browser do I need? | Does it work in Firefox and Safari?
    Is there a mobile app? | Can I use it on my phone? | Do you have an app for Android or iPhone?
    Does it work offline? | Can I use the app without an internet connection? | Is there an offline mode?
    What is the largest file I can upload? | Is there a maximum upload size? | How big may an attachment be?
    Which file formats can I upload? | What types of files do you accept? | Are PDF and PNG files allowed?
    How do I turn off email notifications? | Can I stop getting emails about updates? | Where do I mute notification mails?
    How do I change the language of the interface? | Can the app be shown in German? | Where is the language setting?
    """,
    """
    How many vacation days do employees get? | How much paid leave do we have per year? | What is our annual holiday allowance?
    How do I report a sick day? | Whom do I tell when I am ill? | What is the procedure for calling in sick?
    When are salaries paid? | On what day do we get our pay? | What is the payroll date?
    How do I claim travel expenses? | Where do I submit receipts from a business trip? | What is the process for getting travel costs back?
    Can I work from home? | Is remote work allowed? | What is the policy on working remotely?
    How much notice must I give when I resign? | What is the notice period for leaving the company? | How long before quitting do I have to tell you?
    Who approves purchase requests? | Whose sign-off is needed to buy something? | Which person has to authorise an order of equipment?
    """,
    """
    What time is check-in? | When can we get into the room? | From what hour are guests admitted on arrival day?
    What time is check-out? | When do we have to leave the room? | By what hour must guests be gone on departure day?
    Is breakfast included? | Does the room price cover breakfast? | Do we pay extra for breakfast?
    Are pets allowed? | Can I bring my dog? | Do you accept animals?
    Is there parking? | Where can I leave my car? | Do you have a garage for guests?
    How far is the airport? | What is the distance to the airport? | How long does it take to get to the airport?
    Is the wifi free? | Do guests pay for internet? | Does wireless access cost anything?
    """,
)

CONTRASTS = (
    ("Can I export my data?", "Why can't I export my data?"),
    ("Which plans include phone support?", "Which plans do not include phone support?"),
    ("Is the warranty transferable?", "Is the warranty not transferable?"),
    ("How much is the plan for 5 users?", "How much is the plan for 50 users?"),
    ("What happened in release 2.1?", "What happened in release 2.2?"),
    ("What does error 404 mean?", "What does error 504 mean?"),
    ("How long is the trial of the Pro plan?", "How long is the trial of the Team plan?"),
    ("Who is the account manager for Contoso?", "Who is the account manager for Fabrikam?"),
    ("What is the SLA at Northwind Traders?", "What is the SLA at Adventure Works?"),
    ("When does the Berlin office open?", "When does the Madrid office open?"),
    ("Can I log in with Google?", "Can I log in with Okta?"),
    ("How do I connect Slack?", "How do I disconnect Slack?"),
    ("How do I enable dark mode?", "How do I disable dark mode?"),
    ("What is the monthly price of Pro?", "What is the yearly price of Pro?"),
    ("What is the minimum order value?", "What is the maximum order value?"),
    ("When does the sale start?", "When does the sale end?"),
    ("How do I archive a project?", "How do I restore a project?"),
    ("How do I lock a document?", "How do I unlock a document?"),
    ("What is the limit for uploads?", "What is the limit for downloads?"),
    ("How do I import a calendar?", "How do I export a calendar?"),
    ("Who is our CEO?", "Who is our CFO?"),
    ("Is tax included in the price?", "Is tax excluded from the price?"),
    ("Can I pay before delivery?", "Can I pay after delivery?"),
    ("Do you ship with DHL?", "Do you ship without DHL?"),
    ("What is the fee for late payment?", "What is the fee for early payment?"),
    ("What is the price for students?", "What is the price for teachers?"),
    ("How do I add a comment?", "How do I delete a comment?"),
    ("Do you ship to Norway?", "Do you ship to Sweden?"),
    ("What is included in plan A?", "What is included in plan B?"),
    ("How do I mute a channel?", "How do I unmute a channel?"),
    ("What is the deadline on Monday?", "What is the deadline on Friday?"),
    ("What is the dose for adults?", "What is the dose for children?"),
    ("Where do I send the goods?", "Where do I receive the goods?"),
    ("What is the speed of the old model?", "What is the speed of the new model?"),
    ("How do I log in?", "How do I log out?"),
    ("Can customers see internal notes?", "Can customers see public notes?"),
    ("Does the basic plan have an API?", "Does the premium plan have an API?"),
    ("How do I increase the limit?", "How do I decrease the limit?"),
    ("What is the first step of onboarding?", "What is the last step of onboarding?"),
    ("Are incoming calls recorded?", "Are outgoing calls recorded?"),
)  # fmt: skip


def intents() -> list[tuple[int, tuple[str, ...]]]:
    """(block number, questions that mean the same) for every line."""
    return [
        (number, tuple(question.strip() for question in line.split("|")))
        for number, block in enumerate(BLOCKS)
        for line in block.strip().splitlines()
    ]
