"""Everyday questions of many domains, against which memory measures how close two questions really are.

None repeats another, and none belongs to a tenant.
"""

QUESTIONS = """
How do I book a meeting room?
What is the dress code?
Where can I find the user manual?
What is the boiling point of water?
How do I print a label?
Who won the last election?
What is the population of the city?
How many people work in the company?
What is the annual revenue?
Who is the head of marketing?
What is the name of the sales manager?
When was the building completed?
What is the address of the warehouse?
In which country is the factory?
What is the opening date of the new branch?
How do I apply for a loan?
What is the interest rate?
What is the credit limit?
What is the fee for a bank transfer?
What is the minimum deposit?
How do I block my debit card?
What is the account number?
When does the contract end?
What is the contract length?
What is the penalty for late payment?
What is the commission on sales?
What is the exchange rate?
How much tax do I owe?
What is the deadline for the tax return?
How do I file a complaint?
What is the bonus for managers?
What is the starting salary?
How long is the probation period?
How many hours is the working week?
What time does the shift start?
How long is the lunch break?
What is the retirement age?
Who signs the contract?
How do I apply for the job?
What are the requirements for the position?
What is the training budget?
When is the next company meeting?
What is the wifi password?
How do I connect to the printer?
What is the version number of the software?
How do I install the update?
How do I restart the server?
What is the size of the screen?
What is the battery life?
How much memory does the laptop have?
What is the weight of the machine?
What is the speed of the connection?
Which operating system does it run on?
What is the serial number?
What colour is the cover?
What is the material of the case?
How do I clean the filter?
How often should the oil be changed?
What is the fuel consumption?
What is the tyre pressure?
How do I replace the bulb?
What is the voltage of the charger?
What is the temperature range?
How loud is the fan?
What are the dimensions of the box?
How many pieces are in a pack?
What is the shelf life of the product?
What are the ingredients?
How many calories does it have?
Does it contain nuts?
Is the product vegan?
What is the recipe for the sauce?
How long does the cake bake?
What is the best wine for fish?
What is the price of a ticket?
What is the group rate?
What is the discount for seniors?
How do I use a voucher?
What is the value of the gift card?
When does the coupon expire?
When does the train leave?
How long is the flight?
What is the baggage allowance?
How much does extra luggage cost?
What is the gate number?
How do I change my seat?
Can I get a window seat?
What is the visa fee?
What documents do I need for the trip?
What is the time difference?
What is the currency of the country?
What is the capital of the region?
What language do they speak?
How is the weather in summer?
What is the height of the mountain?
How deep is the lake?
What is the room rate?
How many beds are in the room?
Is there a swimming pool?
What is the deposit for the apartment?
How much is the rent?
Who is the landlord?
When is the rent due?
What is the size of the garden?
How do I reach the emergency service?
What are the visiting hours?
How do I make an appointment with the doctor?
What is the dosage of the medicine?
What are the side effects?
How long does the treatment take?
Who is the surgeon?
What is the waiting list for the operation?
Does the insurance cover dental care?
What is the insurance premium?
What is the policy number?
How do I report an accident?
What is the excess on the policy?
What is the registration fee for the course?
When is the exam?
What is the pass mark?
Who teaches the class?
How many students are in the group?
What is the application deadline?
What is the topic of the lecture?
Where is the library?
How many books can I borrow?
When is the next match?
What was the final score?
Who is the coach of the team?
What is the name of the stadium?
What is the membership fee of the club?
What is the age limit?
What is the minimum height?
How do I join the club?
What is the logo of the brand?
What is the slogan?
What is the name of the founder's dog?
Who designed the website?
What is the domain name?
How do I write a blog post?
How do I share a folder?
How do I edit a photo?
How do I record a call?
How do I merge two documents?
How do I sort a table?
How do I filter the results?
How do I create a chart?
How do I undo a change?
How do I schedule a message?
How do I attach a file?
How do I search the archive?
How do I assign a task?
What is the status of the project?
Who is responsible for security?
What is the budget of the project?
What is the number of open tickets?
What is the failure rate?
What is the average order value?
What is the market share?
What is the stock price?
Who is the largest customer?
What is the supplier's phone number?
What is the delivery date of the parts?
What is the order number?
What is the tracking code?
What is the customs duty?
What is the packaging made of?
How many parcels fit on a truck?
What is the maximum weight of a parcel?
Who delivers the mail?
Where is the nearest shop?
When does the shop close?
Is the product in stock?
What sizes are available?
How do I measure my size?
Do you sell spare parts?
What is the repair cost?
How long does a repair take?
Can I pay in instalments?
Do I need a receipt?
What is the meaning of the error message?
Why does the screen flicker?
Why is the page slow?
Why was my request rejected?
Is my call recorded?
What is the privacy policy?
Who has access to my file?
What is the legal basis of the processing?
How do I give consent?
What is the law on working hours?
What is the fine for speeding?
When is the public holiday?
What day is it today?
Thank you for your help.
Tell me a joke.
"""
