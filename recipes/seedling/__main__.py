from recipes.seedling.cli import main

if __name__ == "__main__":  # workers that write traces import this module again
    main()
